"""The modules as pure, typed functions of parameters and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from stepcoder_jax.model.cache import KVCache
from stepcoder_jax.model.critic import Critic, value_head
from stepcoder_jax.model.decoder import Decoder, Params
from stepcoder_jax.model.layer_stack import layers_together
from stepcoder_jax.model.layers import ADAPTERS


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Hidden states after the final norm, and the cache with the tokens written in it."""

    hidden: Float[Array, "B T D"]
    cache: KVCache


def hidden_states(
    decoder: Decoder,
    params: Params,
    tokens: Int[Array, "B T"],
    adapters: Params | None = None,
    segments: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T D"]:
    """Full forward pass over right-padded rows: hidden states after the final norm.

    Args:
        adapters: added to the matrices of ``params`` in the same places, as ``Weights`` holds them.
        segments: where a row holds several sequences one after the other, which of them each token
            is of: it is read as if its sequence stood alone. None: a row is one sequence.
    """
    positions = row_positions(tokens) if segments is None else segment_positions(segments)
    variables = _variables(params, adapters)
    read: Any = decoder.apply(variables, tokens, positions, segments=segments)
    return read[0]


def prefill(decoder: Decoder, params: Params, tokens: Int[Array, "B T"]) -> Decoded:
    """Reads right-padded rows from their beginning; decoder and parameters are for serving."""
    read: Any = decoder.apply({"params": params}, tokens, row_positions(tokens))
    return Decoded(hidden=read[0], cache=read[1])


def decode(
    decoder: Decoder,
    params: Params,
    tokens: Int[Array, " B"],
    positions: Int[Array, " B"],
    cache: KVCache,
) -> Decoded:
    """Reads one more token of rows whose past is in the cache; for serving, as ``prefill``."""
    read: Any = decoder.apply({"params": params}, tokens[:, None], positions[:, None], cache)
    return Decoded(hidden=read[0], cache=read[1])


def values_after(
    critic: Critic, params: Params, tokens: Int[Array, "B T"], adapters: Params | None = None
) -> Float[Array, "B T"]:
    """What the critic's head says at each token, having read that token too.

    Args:
        adapters: as for ``hidden_states``.
    """
    values = critic.apply(_variables(params, adapters), tokens, row_positions(tokens))
    return jnp.asarray(values)


def head_values(head: Params, hidden: Float[Array, "B T D"]) -> Float[Array, "B T"]:
    """What a critic's head alone says of hidden states."""
    values = value_head(head["kernel"].dtype).apply({"params": head}, hidden)
    return jnp.asarray(values)[..., 0]


def _variables(params: Params, adapters: Params | None) -> dict[str, Params]:
    """Layers may lie apart, as ``layers_apart`` leaves them: XLA then copies none together."""
    variables = {"params": params} if adapters is None else {"params": params, ADAPTERS: adapters}
    together: dict[str, Params] = layers_together(variables)
    return together


def row_positions(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """0 … T − 1 in every row."""
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)


def segment_positions(segments: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """From 0 in every run of equal numbers: ``1 1 1 2 2 0`` -> ``0 1 2 0 1 0``."""
    places = row_positions(segments)
    begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    return places - jax.lax.cummax(jnp.where(begins, places, 0), axis=1)
