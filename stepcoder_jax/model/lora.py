"""Low-rank adapters (LoRA): a model as frozen parameters W and small trained matrices A and B.

Every adapted matrix computes x W + (alpha / r) (x A) B (arXiv 2106.09685, section 4.1; dropout is
left out: samples are drawn anew in every iteration). A tree of adapters is a tree of parameters
with {"a", "b"} in place of the layer's {"kernel"}, stacked over layers as they are. The policy, its
reference and the critic are three such trees over one copy of W.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import flax.traverse_util as traverse
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from stepcoder_jax.config import LoRAConfig
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.init import critic_logical_axes, init_policy, logical_axes
from stepcoder_jax.model.serving import serving_params


@dataclass(frozen=True, kw_only=True)
class Target:
    """A matrix that can be adapted.

    Attributes:
        path: of our layer, inside a transformer layer.
        input_axes: how many axes of its kernel, the layer axis left out, are contracted.
    """

    path: tuple[str, str]
    input_axes: int = 1


TARGETS: Mapping[str, Target] = {
    "q_proj": Target(path=("attention", "query")),
    "k_proj": Target(path=("attention", "key")),
    "v_proj": Target(path=("attention", "value")),
    "o_proj": Target(path=("attention", "output"), input_axes=2),
    "gate_proj": Target(path=("mlp", "gate")),
    "up_proj": Target(path=("mlp", "up")),
    "down_proj": Target(path=("mlp", "down")),
}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a module is applied to.

    Attributes:
        params: ordinary parameters.
        adapters: A and (alpha / r) B of the matrices that have them; None: no matrix has.
    """

    params: Params
    adapters: Params | None


def init_adapters(rng: PRNGKeyArray, config: ModelConfig, lora: LoRAConfig) -> dict[str, Any]:
    """Draw adapters in float32 that change nothing yet: A uniform in ±1/√in, B zero, as PEFT does.

    A's shape is [L, in…, r] and B's [L, r, out…] for a kernel [L, in…, out…]. What is drawn for one
    target does not depend on which others there are.
    """
    return nn.meta.unbox(jax.jit(_boxed_adapters, static_argnums=(1, 2))(rng, config, lora))


def adapter_axes(config: ModelConfig, lora: LoRAConfig) -> dict[str, Any]:
    """As ``logical_axes``, for a tree of adapters: the kernels' axes, and none for r."""
    boxed = jax.eval_shape(lambda: _boxed_adapters(jax.random.key(0), config, lora))
    return nn.get_partition_spec(boxed)


def critic_adapter_axes(config: ModelConfig, lora: LoRAConfig) -> dict[str, Any]:
    """As ``adapter_axes``, for what is trained of a critic: its backbone's adapters, its head."""
    head = critic_logical_axes(config)["head"]
    return {"backbone": adapter_axes(config, lora), "head": head}


def policy_weights(trained: Params, frozen: Params | None, lora: LoRAConfig) -> Weights:
    """What a policy computes with.

    Args:
        trained: its adapters, or all its parameters where ``frozen`` is None.
        frozen: the parameters that the adapters are added to.
    """
    if frozen is None:
        return Weights(params=trained, adapters=None)
    return Weights(params=frozen, adapters=_scaled(trained, lora))


def critic_weights(trained: Params, frozen: Params | None, lora: LoRAConfig) -> Weights:
    """What a critic computes with; ``frozen`` is the policy's, and ``trained`` has the head too."""
    if frozen is None:
        return Weights(params=trained, adapters=None)
    backbone = {name: value for name, value in frozen.items() if name != "unembedding"}
    return Weights(
        params={"backbone": backbone, "head": trained["head"]},
        adapters={"backbone": _scaled(trained["backbone"], lora)},
    )


def merge(base: Params, adapters: Params, lora: LoRAConfig) -> dict[str, Any]:
    """Ordinary parameters W + (alpha / r) A B, computed in float32 and kept in W's dtype.

    Leaves without an adapter are the base's own arrays, not copies.
    """
    flat = traverse.flatten_dict(dict(base))
    for name in lora.targets:
        path = ("layers", *TARGETS[name].path)
        pair = adapters["layers"][path[1]][path[2]]
        flat[*path, "kernel"] = _merged(flat[*path, "kernel"], pair["a"], pair["b"], lora.scale)
    return traverse.unflatten_dict(flat)


@partial(jax.jit, static_argnames=("lora", "dtype"))
def policy_to_serve(
    trained: Params, frozen: Params | None, *, lora: LoRAConfig, dtype: DTypeLike
) -> dict[str, Any]:
    """A policy rearranged for generation, adapters merged: the one copy that sampling needs.

    Arguments as for ``policy_weights`` and ``serving_params``.
    """
    whole = trained if frozen is None else merge(frozen, trained, lora)
    return serving_params(whole, dtype=dtype)


@partial(jax.jit, static_argnames=("scale",))
def _merged(
    kernel: Float[Array, L * matrix],
    a: Float[Array, L * inputs],
    b: Float[Array, "L r *outputs"],
    scale: float,
) -> Float[Array, L * matrix]:
    multiply = partial(jnp.tensordot, axes=1, precision=jax.lax.Precision.HIGHEST)
    product = jax.vmap(multiply)(a, scale * b)
    return (kernel + product).astype(kernel.dtype)


def _scaled(adapters: Params, lora: LoRAConfig) -> Params:
    def scaled(path: Any, x: Array) -> Array:
        return x * lora.scale if path[-1].key == "b" else x

    of_tree: Params = jax.tree_util.tree_map_with_path(scaled, adapters)
    return of_tree


def _boxed_adapters(rng: PRNGKeyArray, config: ModelConfig, lora: LoRAConfig) -> dict[str, Any]:
    shapes = jax.eval_shape(lambda: init_policy(jax.random.key(0), config))["layers"]
    axes = logical_axes(config)["layers"]
    flat: dict[tuple[str, ...], Any] = {}
    for number, (name, target) in enumerate(TARGETS.items()):
        if name in lora.targets:
            block, layer = target.path
            shape, names = shapes[block][layer]["kernel"].shape, axes[block][layer]["kernel"]
            cut = 1 + target.input_axes
            bound = 1 / math.sqrt(math.prod(shape[1:cut]))
            key = jax.random.fold_in(rng, number)
            a = jax.random.uniform(key, (*shape[:cut], lora.rank), jnp.float32, -bound, bound)
            b = jnp.zeros((shape[0], lora.rank, *shape[cut:]), jnp.float32)
            path = ("layers", *target.path)
            flat[*path, "a"] = nn.LogicallyPartitioned(a, (*names[:cut], None))
            flat[*path, "b"] = nn.LogicallyPartitioned(b, (names[0], None, *names[cut:]))
    return traverse.unflatten_dict(flat)
