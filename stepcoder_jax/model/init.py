"""Fresh parameters as plain nested dicts, and the logical axis names of each."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, PRNGKeyArray

from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder, Params


def init_policy(
    rng: PRNGKeyArray, config: ModelConfig, param_dtype: DTypeLike = jnp.float32
) -> dict[str, Any]:
    """Draw the parameters of a decoder: normal(0.02) matrices, unit norms, zero biases."""
    return _init(Decoder(config=config, param_dtype=param_dtype), rng)


def critic_from_policy(params: Params, config: ModelConfig) -> dict[str, Any]:
    """Return critic parameters: a copy of the policy's backbone under a head of zeros.

    Given a policy's adapters, the copy is one of them. The arrays are copies, so that donating one
    tree leaves the other alive.
    """
    backbone = {name: value for name, value in params.items() if name != "unembedding"}
    return {"backbone": jax.tree.map(jnp.copy, backbone), **critic_head(config)}


def critic_head(config: ModelConfig) -> dict[str, Any]:
    """Return the parameters of a critic on the policy's own backbone: its head, of zeros."""
    head: Array = jnp.zeros((config.hidden_size, 1), jnp.float32)
    return {"head": {"kernel": head}}


def logical_axes(config: ModelConfig) -> dict[str, Any]:
    """Return a tree like a policy's parameters, of ``PartitionSpec``s of logical axis names.

    Names: vocab, embed, heads, kv_heads, head_dim, mlp, layers.
    """
    return _axes(Decoder(config=config))


def critic_logical_axes(config: ModelConfig) -> dict[str, Any]:
    """As ``logical_axes``, for a critic."""
    return _axes(Critic(config=config))


def _init(module: nn.Module, rng: PRNGKeyArray) -> dict[str, Any]:
    tokens = jnp.zeros((1, 1), jnp.int32)
    return nn.meta.unbox(module.init(rng, tokens, tokens))["params"]


def _axes(module: nn.Module) -> dict[str, Any]:
    boxed = jax.eval_shape(
        lambda: module.init(jax.random.key(0), *[jnp.zeros((1, 1), jnp.int32)] * 2)
    )
    return nn.get_partition_spec(boxed)["params"]
