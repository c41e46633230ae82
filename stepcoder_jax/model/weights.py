"""Hugging Face tensors to our stacked parameter tree and back, one tensor at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import save_file

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.init import init_policy

INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"

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

# Rope frequencies that old Llama files carry: a buffer that config.json determines.
_DERIVED_SUFFIX = "rotary_emb.inv_freq"


class ModelLoadError(ValueError):
    """A model could not be read; the message names the file or tensor, and what is expected."""


@dataclass(frozen=True, kw_only=True)
class TensorPlace:
    """Where a Hugging Face tensor lives in our tree.

    Attributes:
        path: keys of our leaf, joined by slashes.
        layer: index on the leaf's first axis, or None for a leaf that is not stacked.
        shape: our shape of this one tensor, without the layer axis.
        is_transposed: theirs is [out, in] where ours is [in…, out…].
    """

    path: str
    layer: int | None
    shape: tuple[int, ...]
    is_transposed: bool

    @property
    def hf_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in a Hugging Face file."""
        if self.path == "embedding":
            return self.shape
        if not self.is_transposed:
            return (math.prod(self.shape),)
        # Heads and their channels are one axis there: two input axes of ours for the attention's
        # output, two output axes for its other projections.
        inputs = 2 if self.path.endswith("output/kernel") else 1
        return math.prod(self.shape[inputs:]), math.prod(self.shape[:inputs])

    def from_hf(self, tensor: np.ndarray) -> np.ndarray:
        """Return ``tensor`` in our layout."""
        return (tensor.T if self.is_transposed else tensor).reshape(self.shape)

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """Return our array in the Hugging Face layout."""
        if not self.is_transposed:
            return array.reshape(self.hf_shape)
        return np.ascontiguousarray(array.reshape(self.hf_shape[::-1]).T)


def tensor_places(config: ModelConfig) -> dict[str, TensorPlace]:
    """Return the place of every tensor that a Hugging Face file of this model holds, by name."""
    shapes = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))
    places = {}
    for path, leaf in traverse.flatten_dict(shapes, sep="/").items():
        is_transposed = path.endswith("kernel") or path == "unembedding"
        if path in _TOP:
            places[_TOP[path]] = TensorPlace(
                path=path, layer=None, shape=leaf.shape, is_transposed=is_transposed
            )
            continue
        for layer in range(config.num_layers):
            name = f"model.layers.{layer}.{_PER_LAYER[path.removeprefix('layers/')]}"
            places[name] = TensorPlace(
                path=path, layer=layer, shape=leaf.shape[1:], is_transposed=is_transposed
            )
    return places


def params_from_tensors(
    config: ModelConfig, tensors: Iterable[tuple[str, np.ndarray]], source: str
) -> dict[str, Any]:
    """Assemble float32 parameters from Hugging Face tensors, in any order.

    Args:
        config: what the tensors must fit.
        tensors: name and content of each; floating point.
        source: where they come from, for messages.

    Raises:
        ModelLoadError: a tensor that is unknown, of another shape, not finite, or missing.
    """
    places = tensor_places(config)
    flat: dict[str, np.ndarray] = {}
    missing = set(places)
    for name, tensor in tensors:
        if name.endswith(_DERIVED_SUFFIX):
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            raise ModelLoadError(
                f"{source}: has lm_head.weight although tie_word_embeddings is true; "
                "set it to false in config.json to use a head of its own"
            )
        array = _checked(name, tensor, places, source)
        place = places[name]
        missing.discard(name)
        if place.layer is None:
            flat[place.path] = array
        else:
            stack = flat.setdefault(
                place.path, np.empty((config.num_layers, *place.shape), np.float32)
            )
            stack[place.layer] = array
    if missing:
        raise ModelLoadError(
            f"{source}: lacks {len(missing)} tensors: {', '.join(sorted(missing))}"
        )
    return traverse.unflatten_dict({path: jnp.asarray(x) for path, x in flat.items()}, sep="/")


def _checked(
    name: str, tensor: np.ndarray, places: Mapping[str, TensorPlace], source: str
) -> np.ndarray:
    if name not in places:
        raise ModelLoadError(f"{source}: tensor {name!r} is unknown to the configured model")
    place = places[name]
    if tensor.shape != place.hf_shape:
        raise ModelLoadError(
            f"{source}: tensor {name!r} has shape {list(tensor.shape)}; "
            f"config.json asks for {list(place.hf_shape)}"
        )
    if not jnp.issubdtype(tensor.dtype, jnp.floating):
        raise ModelLoadError(f"{source}: tensor {name!r} is {tensor.dtype}, not floating point")
    array = place.from_hf(tensor).astype(np.float32)
    if not np.isfinite(array).all():
        raise ModelLoadError(f"{source}: tensor {name!r} holds NaN or infinity")
    return array


def hf_tensors(config: ModelConfig, params: Params) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and content of every tensor of a Hugging Face file of these parameters."""
    flat = traverse.flatten_dict(dict(params), sep="/")
    for name, place in tensor_places(config).items():
        leaf = np.asarray(flat[place.path])
        yield name, place.to_hf(leaf if place.layer is None else leaf[place.layer])


def read_safetensors(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a folder's safetensors files, following the index when there is one.

    Raises:
        ModelLoadError: no such file, a file of the index that is not there, or one that is broken.
    """
    for path in _weight_files(folder):
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                for name in file.offset_keys():
                    yield name, file.get_tensor(name)
        except (OSError, safetensors.SafetensorError) as error:
            raise ModelLoadError(f"{path}: {error}") from error


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    if index.exists():
        weight_map = json.loads(index.read_text())["weight_map"]
        return [folder / name for name in sorted(set(weight_map.values()))]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelLoadError(f"{folder}: holds no weights: no {WEIGHTS_FILE} and no {INDEX_FILE}")
    return files


def write_safetensors(folder: Path, config: ModelConfig, params: Params) -> None:
    """Write ``model.safetensors`` as transformers reads it."""
    tensors = dict(hf_tensors(config, params))
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
