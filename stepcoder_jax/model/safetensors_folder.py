"""Folders of safetensors files: read tensor by tensor, written shard by shard."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save_file

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.source import StoredTensor
from stepcoder_jax.model.weights import Index, ModelLoadError, hf_tensors, tensor_places

INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"

# What a file may weigh on the Hugging Face hub's own advice.
SHARD_BYTES = 5_000_000_000

_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


class SafetensorsFolder:
    """The weights of a Hugging Face folder.

    A tensor is read through a mapping that lives no longer than the call.

    Raises:
        ModelLoadError: there is no weights file, one cannot be read, two hold the same tensor, or
            the index does not tell what is there.
    """

    dtypes = frozenset({"F32", "F16", "BF16"})

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.tensors: dict[str, StoredTensor] = {}
        for file in _weight_files(folder):
            for name, stored in _stored_in(file).items():
                if name in self.tensors:
                    raise ModelLoadError(
                        f"{file}: tensor {name!r} is in {self.tensors[name].file.name} too"
                    )
                self.tensors[name] = stored

    def read(self, name: str, index: Index) -> np.ndarray:
        """Return a block of a tensor, in the dtype of the file."""
        with _opened(self.tensors[name].file) as file:
            return file.get_slice(name)[index]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelLoadError(f"{path}: {error}") from error


def _stored_in(path: Path) -> dict[str, StoredTensor]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.offset_keys()}
        return {
            name: StoredTensor(
                file=path, name=name, shape=tuple(x.get_shape()), dtype=x.get_dtype()
            )
            for name, x in slices.items()
        }


def _weight_files(folder: Path) -> list[Path]:
    # One file goes before an index, as in transformers.
    if (folder / WEIGHTS_FILE).exists():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).exists():
        return _indexed_files(folder / INDEX_FILE)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelLoadError(f"{folder}: holds no weights: no {WEIGHTS_FILE} and no {INDEX_FILE}")
    return files


def _indexed_files(index: Path) -> list[Path]:
    weight_map = _weight_map(index)
    stored = {}
    for name, file in weight_map.items():
        path = index.parent / file
        if file not in stored:
            if not path.exists():
                raise ModelLoadError(
                    f"{index}: tensor {name!r} should be in {file}, which is not there"
                )
            stored[file] = _stored_in(path)
        if name not in stored[file]:
            raise ModelLoadError(f"{path}: lacks tensor {name!r}, which {index.name} puts there")
    return sorted(index.parent / file for file in stored)


def _weight_map(index: Path) -> Mapping[str, str]:
    try:
        content = json.loads(index.read_text())
    except ValueError as error:
        raise ModelLoadError(f"{index}: not JSON: {error}") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(x, str) for x in weight_map.values()):
        raise ModelLoadError(f"{index}: has no weight_map from tensors to names of files")
    return weight_map


def write_safetensors(
    folder: Path,
    config: ModelConfig,
    params: Params,
    *,
    dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write weights as transformers reads them: one file, or shards and their index.

    The host holds one shard at a time. Weights files that an earlier call left are removed.

    Args:
        folder: exists.
        config: what ``params`` are.
        params: float32.
        dtype: float32, or bfloat16 (rounded).
        shard_bytes: most bytes of tensors in a file; a tensor above it gets a file of its own.
    """
    for old in [*folder.glob("*.safetensors"), folder / INDEX_FILE]:
        if old.name == INDEX_FILE or _OURS.fullmatch(old.name):
            old.unlink(missing_ok=True)
    shards = _shards(config, jnp.dtype(dtype).itemsize, shard_bytes)
    tensors = hf_tensors(config, params)
    for file, names in shards.items():
        part = {
            name: x.astype(dtype, copy=False) for name, x in itertools.islice(tensors, len(names))
        }
        save_file(part, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        weight_map = {name: file for file, names in shards.items() for name in names}
        places = tensor_places(config).values()
        total = sum(math.prod(place.shape) for place in places) * jnp.dtype(dtype).itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def _shards(config: ModelConfig, item_bytes: int, shard_bytes: int) -> dict[str, list[str]]:
    """Names of the tensors of each file, in the order of ``hf_tensors``."""
    shards: list[list[str]] = [[]]
    free = shard_bytes
    for name, place in tensor_places(config).items():
        size = math.prod(place.shape) * item_bytes
        if size > free and shards[-1]:
            shards.append([])
            free = shard_bytes
        shards[-1].append(name)
        free -= size
    if len(shards) == 1:
        return {WEIGHTS_FILE: shards[0]}
    return {
        f"model-{number:05}-of-{len(shards):05}.safetensors": names
        for number, names in enumerate(shards, start=1)
    }
