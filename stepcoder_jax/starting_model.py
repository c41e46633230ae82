"""The model a run starts from: weights from disk, or fresh ones with a tokenizer of their own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from stepcoder_jax.config import ConfigError, ModelSettings
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import init_policy
from stepcoder_jax.model.load import LoadedModel, ModelLoadError, load_model
from stepcoder_jax.model.tokenizer import load_tokenizer, train_tokenizer


def starting_model(
    settings: ModelSettings, *, texts: Sequence[str], tokenizer_dir: Path, seed: int
) -> LoadedModel:
    """Loads ``model.path``, or makes fresh weights of ``model.shape``.

    Args:
      texts: what a fresh tokenizer is trained on.
      tokenizer_dir: where that tokenizer is kept, and found again by a resumed run.

    Raises:
      ConfigError: an unknown shape.
      ModelLoadError: the path holds no model that can be used, or there are neither texts nor a
        tokenizer.
    """
    if settings.path is not None:
        return load_model(settings.path)
    if settings.shape not in SHAPES:
        raise ConfigError(f"model.shape = {settings.shape!r}: one of {', '.join(SHAPES)}")
    if not texts and not tokenizer_dir.exists():
        raise ModelLoadError(f"{tokenizer_dir} is missing: the run's tokenizer was kept there")
    if not tokenizer_dir.exists():
        tokenizer = train_tokenizer(texts, settings.vocab_size, split_digits=settings.split_digits)
        # Under its name only when it is complete: an interrupted run leaves none.
        part = tokenizer_dir.with_name(f"{tokenizer_dir.name}.part")
        tokenizer.save_pretrained(part)
        part.rename(tokenizer_dir)
    tokenizer = load_tokenizer(tokenizer_dir)
    config = replace(SHAPES[settings.shape], vocab_size=settings.vocab_size)
    params = init_policy(jax.random.key(seed), config)
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def make_decoder(settings: ModelSettings, model: LoadedModel) -> Decoder:
    """The policy's module, as the recipe wants it computed."""
    return Decoder(
        config=model.config,
        dtype=settings.dtype,
        attention=settings.attention,
        remat=settings.remat,
    )


def make_critic(settings: ModelSettings, model: LoadedModel) -> Critic:
    """The critic's module: the same backbone, computed in the same way."""
    return Critic(
        config=model.config,
        dtype=settings.dtype,
        attention=settings.attention,
        remat=settings.remat,
    )
