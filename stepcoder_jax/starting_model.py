"""The model a run starts from: weights from disk, or fresh ones with a tokenizer of their own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from stepcoder_jax.config import ConfigError, ModelSettings
from stepcoder_jax.model.config import SHAPES, ModelConfig
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import init_policy, logical_axes
from stepcoder_jax.model.load import LoadedModel, ModelLoadError, load_model, open_model
from stepcoder_jax.model.source import Placement
from stepcoder_jax.model.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from stepcoder_jax.model.weights import policy_shapes
from stepcoder_jax.processes import from_first
from stepcoder_jax.sharding import Mesh, param_shardings


def placement(mesh: Mesh) -> Placement:
    """Each parameter of a policy lies on the mesh as the table of logical axes says."""
    return lambda config: param_shardings(policy_shapes(config), logical_axes(config), mesh)


def starting_model(
    settings: ModelSettings, *, mesh: Mesh, texts: Sequence[str], tokenizer_dir: Path, seed: int
) -> LoadedModel:
    """Loads ``model.path`` onto the mesh, or makes fresh weights of ``model.shape``.

    Args:
      mesh: weights from disk are read straight to their place on it.
      texts: what a fresh tokenizer is trained on.
      tokenizer_dir: where that tokenizer is kept, and found again by a resumed run.

    Raises:
      ConfigError: an unknown shape.
      ModelLoadError: the path holds no model that can be used, or there are neither texts nor a
        tokenizer.
    """
    if settings.path is not None:
        return load_model(settings.path, placement(mesh))
    config, tokenizer = _fresh(settings, texts, tokenizer_dir)
    params = init_policy(jax.random.key(seed), config)
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def model_outline(settings: ModelSettings, *, mesh: Mesh, tokenizer_dir: Path) -> LoadedModel:
    """As ``starting_model``, with shapes and shardings in place of the parameters: to restore to.

    Raises:
      ConfigError, ModelLoadError: as ``starting_model``.
    """
    if settings.path is None:
        config, tokenizer = _fresh(settings, (), tokenizer_dir)
    else:
        with open_model(settings.path) as stored:
            config, tokenizer = stored.config, stored.tokenizer
    params = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        policy_shapes(config),
        placement(mesh)(config),
    )
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def _fresh(
    settings: ModelSettings, texts: Sequence[str], tokenizer_dir: Path
) -> tuple[ModelConfig, Tokenizer]:
    if settings.shape not in SHAPES:
        raise ConfigError(f"model.shape = {settings.shape!r}: one of {', '.join(SHAPES)}")
    from_first(lambda: _keep_tokenizer(settings, texts, tokenizer_dir))
    tokenizer = load_tokenizer(tokenizer_dir)
    config = replace(SHAPES[settings.shape], vocab_size=settings.vocab_size)
    return config, tokenizer


def _keep_tokenizer(settings: ModelSettings, texts: Sequence[str], folder: Path) -> None:
    """Trains the tokenizer, unless it has been."""
    if folder.exists():
        return
    if not texts:
        raise ModelLoadError(f"{folder} is missing: the run's tokenizer was kept there")
    tokenizer = train_tokenizer(texts, settings.vocab_size, split_digits=settings.split_digits)
    # Under its name only when it is complete: an interrupted run leaves none.
    part = folder.with_name(f"{folder.name}.part")
    tokenizer.save_pretrained(part)
    part.rename(folder)


def make_decoder(settings: ModelSettings, config: ModelConfig) -> Decoder:
    """The policy's module, as the recipe wants it computed."""
    return Decoder(
        config=config,
        dtype=settings.dtype,
        attention=settings.attention,
        remat=settings.remat,
        unroll=settings.unroll,
    )


def make_critic(settings: ModelSettings, config: ModelConfig) -> Critic:
    """The critic's module: the same backbone, computed in the same way."""
    return Critic(
        config=config,
        dtype=settings.dtype,
        attention=settings.attention,
        remat=settings.remat,
        unroll=settings.unroll,
    )
