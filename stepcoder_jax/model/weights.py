"""Hugging Face tensors and our stacked parameter tree: where each lives, and its layout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import flax.traverse_util as traverse
import jax
import numpy as np

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.init import init_policy

_TOP: Mapping[str, str] = {
    "embedding": "model.embed_tokens.weight",
    "final_norm/scale": "model.norm.weight",
    "unembedding": "lm_head.weight",
}

_PER_LAYER: Mapping[str, str] = {
    "attention_norm/scale": "input_layernorm.weight",
    "attention/query/kernel": "self_attn.q_proj.weight",
    "attention/query/bias": "self_attn.q_proj.bias",
    "attention/key/kernel": "self_attn.k_proj.weight",
    "attention/key/bias": "self_attn.k_proj.bias",
    "attention/value/kernel": "self_attn.v_proj.weight",
    "attention/value/bias": "self_attn.v_proj.bias",
    "attention/output/kernel": "self_attn.o_proj.weight",
    "attention/query_norm/scale": "self_attn.q_norm.weight",
    "attention/key_norm/scale": "self_attn.k_norm.weight",
    "mlp_norm/scale": "post_attention_layernorm.weight",
    "mlp/gate/kernel": "mlp.gate_proj.weight",
    "mlp/up/kernel": "mlp.up_proj.weight",
    "mlp/down/kernel": "mlp.down_proj.weight",
}


class ModelLoadError(ValueError):
    """A model could not be read; the message names the file or tensor, and what is expected."""


Index = tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class TensorPlace:
    """Where a Hugging Face tensor lives in our tree.

    Attributes:
        path: keys of our leaf, joined by slashes.
        layer: index on the leaf's first axis, or None for a leaf that is not stacked.
        shape: our shape of this one tensor, without the layer axis.
        axes: for each axis of theirs, the axes of ours it is made of, the slowest first: their
            [out, in] is our [in, out], and heads and their channels are one axis there.
    """

    path: str
    layer: int | None
    shape: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @property
    def hf_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in a Hugging Face file."""
        return tuple(math.prod(self.shape[axis] for axis in group) for group in self.axes)

    def hf_index(self, index: Index) -> Index:
        """Return the least block of their tensor that holds the block ``index`` of ours.

        Args:
            index: one slice for each axis of ours, with start and stop.
        """
        bounds = []
        for first, *rest in self.axes:
            width = math.prod(self.shape[axis] for axis in rest)
            bounds.append(slice(index[first].start * width, index[first].stop * width))
        return tuple(bounds)

    def from_hf(self, block: np.ndarray, index: Index) -> np.ndarray:
        """Return the block ``index`` of ours, a view of their block ``hf_index(index)``."""
        is_cut = {group[0] for group in self.axes}
        order = list(itertools.chain(*self.axes))
        sizes = [
            index[axis].stop - index[axis].start if axis in is_cut else self.shape[axis]
            for axis in order
        ]
        ours = block.reshape(sizes).transpose(np.argsort(order))
        return ours[tuple(slice(None) if a in is_cut else index[a] for a in range(ours.ndim))]

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """Return our array in the Hugging Face layout."""
        theirs = array.transpose(list(itertools.chain(*self.axes)))
        return np.ascontiguousarray(theirs.reshape(self.hf_shape))


def policy_shapes(config: ModelConfig) -> dict[str, Any]:
    """Return a tree like a policy's parameters, of their shapes and dtypes."""
    return jax.eval_shape(lambda: init_policy(jax.random.key(0), config))


def tensor_places(config: ModelConfig) -> dict[str, TensorPlace]:
    """Return the place of every tensor that a Hugging Face file of this model holds, by name.

    The tensors of a leaf follow each other, in the order of their layers.
    """
    places = {}
    for path, leaf in traverse.flatten_dict(policy_shapes(config), sep="/").items():
        if path in _TOP:
            places[_TOP[path]] = TensorPlace(
                path=path, layer=None, shape=leaf.shape, axes=_axes(path, leaf.ndim)
            )
            continue
        for layer in range(config.num_layers):
            name = f"model.layers.{layer}.{_PER_LAYER[path.removeprefix('layers/')]}"
            places[name] = TensorPlace(
                path=path, layer=layer, shape=leaf.shape[1:], axes=_axes(path, leaf.ndim - 1)
            )
    return places


def _axes(path: str, ndim: int) -> tuple[tuple[int, ...], ...]:
    ours = tuple(range(ndim))
    if path == "embedding":
        return (ours[:1], ours[1:])
    if not path.endswith("kernel") and path != "unembedding":
        return (ours,)
    # Of three axes, two are heads and channels: inputs of the output projection, outputs of others.
    inputs = ndim - 1 if path.endswith("output/kernel") else 1
    return (ours[inputs:], ours[:inputs])


def hf_tensors(config: ModelConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and content of every tensor of a Hugging Face file of these parameters.

    One tensor at a time comes from the device to the host.
    """
    flat = traverse.flatten_dict(dict(params), sep="/")
    for name, place in tensor_places(config).items():
        leaf = flat[place.path]
        # Layer by layer: a JAX array that is read whole keeps its copy on the host.
        yield name, place.to_hf(np.asarray(leaf if place.layer is None else leaf[place.layer]))
