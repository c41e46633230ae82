"""The parameters as generation reads them: a layer at a time, products that share an input fused.

Training stacks its layers, which keeps what is compiled small. Decoding reads every weight once a
token: from a stack each layer would be copied out first, and many small products wait for memory
where one larger would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stepcoder_jax.model.decoder import Decoder, Params
from stepcoder_jax.model.few_rows import Products
from stepcoder_jax.model.layer_stack import unstacked
from stepcoder_jax.model.product import held, product
from stepcoder_jax.sharding import constrained


def serving_decoder(decoder: Decoder, products: Products = "xla") -> Decoder:
    """The module that computes with :func:`serving_params`.

    Args:
      products: what multiplies few rows on a CPU, as ``few_rows.choose_products`` says.
    """
    return decoder.clone(serving=True, products=products)


@partial(jax.jit, static_argnames=("dtype",))
def serving_params(params: Params, *, dtype: DTypeLike) -> dict[str, Any]:
    """Rearranges a policy's parameters for ``serving_decoder``.

    Args:
      params: as ``init_policy`` lays them out.
      dtype: of activations: what the products are computed in. Scales of norms stay float32.

    Returns:
      A copy, ``held`` as products read it: one tree a layer; every matrix outputs × inputs;
      queries, keys and values in one matrix, gate and up in another.
    """
    layers = [_layer(layer) for layer in unstacked(params["layers"])]
    whole = {name: value for name, value in params.items() if name != "layers"}
    if "unembedding" in whole:
        whole["unembedding"] = whole["unembedding"].T
    served = _held(whole | {f"layer_{i}": layer for i, layer in enumerate(layers)}, dtype)
    return jax.tree_util.tree_map_with_path(_placed, served)


def next_logits(
    params: Params, hidden: Float[Array, "B D"], products: Products = "xla"
) -> Float[Array, "B V"]:
    """Logits in float32 of the tokens behind hidden states; parameters are for serving."""
    kernel = params["unembedding"] if "unembedding" in params else params["embedding"]
    # Said before the logits are put together: they are small, what they are made with is not.
    return constrained(product(hidden, kernel, jnp.float32, products), ("batch", "vocab"))


# Matrices, outputs × inputs: the logical axes over which each is split.
# Rows being split over the other mesh axes, a weight that were, too, would be gathered every token.
_AXES: dict[str, tuple[str | None, ...]] = {
    "embedding": ("vocab",),
    "unembedding": ("vocab",),
    "query_key_value": ("heads",),
    "output": (None, "heads"),
    "gate_up": ("mlp",),
    "down": (None, "mlp"),
}


def _placed(path: Any, x: Array) -> Array:
    """A parameter where it is read: split over heads, units or vocabulary alone."""
    return constrained(x, next((_AXES[key.key] for key in path if key.key in _AXES), ()))


def _layer(layer: Params) -> dict[str, Any]:
    attention, mlp = dict(layer["attention"]), layer["mlp"]
    heads = [attention.pop(name) for name in ("query", "key", "value")]
    attention["query_key_value"] = {
        name: _joined([_outputs_first(part[name]) for part in heads]) for name in heads[0]
    }
    output = attention["output"]["kernel"]
    attention["output"] = {"kernel": output.reshape(-1, output.shape[-1]).T}
    gate_up = _joined([mlp[name]["kernel"].T for name in ("gate", "up")])
    mlp = {"gate_up": {"kernel": gate_up}, "down": {"kernel": mlp["down"]["kernel"].T}}
    return {**layer, "attention": attention, "mlp": mlp}


def _joined(parts: Sequence[Array]) -> Array:
    """Matrices one below the other; how they were split does not suit the whole, so none is."""
    return jnp.concatenate([constrained(part, ()) for part in parts])


def _outputs_first(x: Float[Array, "*D heads H"]) -> Array:
    """A kernel ``[D, heads, H]`` as ``[heads · H, D]``; a bias ``[heads, H]`` flat."""
    return x.reshape(-1) if x.ndim == 2 else x.reshape(x.shape[0], -1).T


def _held(tree: dict[str, Any], dtype: DTypeLike) -> dict[str, Any]:
    return {
        name: _held(value, dtype)
        if isinstance(value, dict)
        else (value if name == "scale" else held(value, dtype))
        for name, value in tree.items()
    }
