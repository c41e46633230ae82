"""Parameters from named tensors on disk, each read slice by slice straight into its sharding."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import flax.traverse_util as traverse
import jax
import numpy as np
from jax.sharding import Sharding, SingleDeviceSharding

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.weights import (
    Index,
    ModelLoadError,
    TensorPlace,
    policy_shapes,
    tensor_places,
)
from stepcoder_jax.some_names import some_names

# From a model's config to a tree like its parameters, of where each is to lie.
Placement = Callable[[ModelConfig], Mapping[str, Any]]

# Rope frequencies that old Llama files carry: a buffer that config.json determines.
_DERIVED_SUFFIX = "rotary_emb.inv_freq"

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"

# Rows of a head compared at once.
_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """What is known of a tensor before it is read.

    Attributes:
        file: where it is stored.
        name: what the file calls it.
        shape: in the Hugging Face layout.
        dtype: as the file calls it.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


@runtime_checkable
class TensorSource(Protocol):
    """Weights on disk: which tensors there are, under Hugging Face names, and any block of one."""

    @property
    def path(self) -> Path:
        """The folder or file, for messages."""

    @property
    def tensors(self) -> Mapping[str, StoredTensor]:
        """Every tensor there is, by name."""

    @property
    def dtypes(self) -> frozenset[str]:
        """The ``StoredTensor.dtype``s that ``read`` understands."""

    def read(self, name: str, index: Index) -> np.ndarray:
        """Return a block of a tensor, floating point; nothing of it stays in memory here."""


def on_one_device(config: ModelConfig) -> dict[str, Any]:
    """Place every parameter whole on the first device."""
    sharding = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda _: sharding, policy_shapes(config))


def read_params(
    config: ModelConfig, source: TensorSource, placement: Placement = on_one_device
) -> dict[str, Any]:
    """Read float32 parameters, each device's part of them and no more.

    The host holds one device's part of one stacked parameter at a time, and one tensor of the
    file while it is copied into that.

    Args:
        config: what the tensors must fit.
        source: where they are.
        placement: the shardings.

    Raises:
        ModelLoadError: a tensor that is unknown, missing, of another shape or kind, a head that
            should be the embedding (all before any parameter is made), or one that is not finite.
    """
    places = tensor_places(config)
    _check_tensors(config, source, places)
    shardings = traverse.flatten_dict(dict(placement(config)), sep="/")
    shapes = traverse.flatten_dict(policy_shapes(config), sep="/")
    flat = {}
    for path, members in itertools.groupby(places.items(), lambda item: item[1].path):
        flat[path] = _read_leaf(source, list(members), shapes[path].shape, shardings[path])
    return traverse.unflatten_dict(flat, sep="/")


def _check_tensors(
    config: ModelConfig, source: TensorSource, places: Mapping[str, TensorPlace]
) -> None:
    for name, stored in source.tensors.items():
        if name.endswith(_DERIVED_SUFFIX):
            continue
        what = f"{stored.file}: tensor {stored.name!r}"
        if name == _HEAD and config.tie_word_embeddings:
            _require_tied(source)
            continue
        if name not in places:
            raise ModelLoadError(f"{what} is unknown to the configured model")
        if stored.shape != places[name].hf_shape:
            raise ModelLoadError(
                f"{what} has shape {list(stored.shape)}; "
                f"the model's config asks for {list(places[name].hf_shape)}"
            )
        if stored.dtype not in source.dtypes:
            allowed = ", ".join(sorted(source.dtypes))
            raise ModelLoadError(f"{what} is stored as {stored.dtype}; allowed: {allowed}")
    missing = sorted(places.keys() - source.tensors.keys())
    if missing:
        raise ModelLoadError(f"{source.path}: lacks {len(missing)} tensors: {some_names(missing)}")


def _require_tied(source: TensorSource) -> None:
    """Pass over a head that repeats the embedding (Qwen3-0.6B has one), and no other."""
    head, embedding = source.tensors[_HEAD], source.tensors.get(_EMBEDDING)
    is_same = embedding is not None and head.shape == embedding.shape
    rows = range(0, head.shape[0] if is_same else 0, _ROWS)
    for start in rows:
        index = (slice(start, min(start + _ROWS, head.shape[0])), slice(0, head.shape[1]))
        is_same &= np.array_equal(source.read(_HEAD, index), source.read(_EMBEDDING, index))
    if not is_same:
        raise ModelLoadError(
            f"{head.file}: tensor {head.name!r} is not the embedding although tie_word_embeddings "
            "is true; set it to false in config.json to use a head of its own"
        )


def _read_leaf(
    source: TensorSource,
    members: Sequence[tuple[str, TensorPlace]],
    shape: tuple[int, ...],
    sharding: Sharding,
) -> jax.Array:
    devices = defaultdict(list)
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        assert index is not None
        bounds = tuple(
            slice(*part.indices(size)[:2]) for part, size in zip(index, shape, strict=True)
        )
        devices[bounds].append(device)
    pieces = []
    for bounds, holders in devices.items():
        block = _read_block(source, members, bounds)
        # Waited for, so that the host lets go of one block before it reads the next.
        pieces += jax.block_until_ready([jax.device_put(block, device) for device in holders])
    return jax.make_array_from_single_device_arrays(shape, sharding, pieces)


def _read_block(
    source: TensorSource, members: Sequence[tuple[str, TensorPlace]], index: Index
) -> np.ndarray:
    is_stacked = members[0][1].layer is not None
    if is_stacked:
        members, index = members[index[0]], index[1:]
    sizes = [part.stop - part.start for part in index]
    block = np.empty((len(members), *sizes), np.float32)
    for layer, (name, place) in enumerate(members):
        theirs = place.hf_index(index)
        tensor = source.read(name, theirs)
        _require_finite(tensor, name, theirs, source)
        block[layer] = place.from_hf(tensor, index)
    return block if is_stacked else block[0]


def _require_finite(tensor: np.ndarray, name: str, index: Index, source: TensorSource) -> None:
    # NaN is its own minimum and maximum; no mask as large as the tensor is made.
    if np.isfinite(tensor.min()) and np.isfinite(tensor.max()):
        return
    row = int(np.argwhere(~np.isfinite(tensor))[0, 0]) + index[0].start
    stored = source.tensors[name]
    raise ModelLoadError(
        f"{stored.file}: tensor {stored.name!r} holds NaN or infinity, first in row {row}"
    )
