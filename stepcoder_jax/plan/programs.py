"""The programs that a recipe's PPO phase runs: the functions that the trainer calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from stepcoder_jax.learner import score, update
from stepcoder_jax.model.lora import policy_to_serve
from stepcoder_jax.model.serving import serving_decoder
from stepcoder_jax.plan.blueprint import Blueprint, Placed
from stepcoder_jax.sampling.decode import decode_chunk, prefill


@dataclass(frozen=True, kw_only=True)
class Program:
    """A jitted function of the trainer and what it is called with.

    Attributes:
      static: keyword arguments that are no arrays.
      arrays: those that are.
      resident: what lies on the devices meanwhile without being an argument.
      tokens: of all devices together, that one call handles.
    """

    name: str
    function: Any
    arguments: tuple[Placed, ...]
    static: Mapping[str, Any]
    resident: Placed
    tokens: int
    arrays: Mapping[str, Placed] = field(default_factory=dict)


def arranging(plan: Blueprint) -> Program:
    """Weights rearranged for generation."""
    return Program(
        name="arrange",
        function=policy_to_serve,
        arguments=(plan.policy, plan.frozen),
        static={"lora": plan.config.lora, "dtype": plan.config.model.dtype},
        resident=(),
        tokens=0,
    )


def reading(plan: Blueprint) -> Program:
    """Prompts read together."""
    tokens, lengths = plan.prompts
    return Program(
        name="prefill",
        function=prefill,
        arguments=(plan.served, tokens, lengths),
        static={"decoder": serving_decoder(plan.decoder)},
        resident=(plan.state, plan.policy, plan.frozen, plan.loaded, plan.decode_state),
        tokens=tokens.size,
    )


def decoding(plan: Blueprint) -> Program:
    """One token of every slot: a chunk is a loop of them."""
    stop_now = jax.ShapeDtypeStruct((plan.slots,), bool)
    enough = jax.ShapeDtypeStruct((), jnp.int32)
    return Program(
        name="decode",
        function=decode_chunk,
        arguments=(plan.served, plan.decode_state, *plan.whole((stop_now, enough))),
        static={
            "decoder": serving_decoder(plan.decoder),
            "settings": plan.decode_settings,
            "steps": plan.config.sampling.chunk_tokens,
        },
        resident=(plan.state, plan.policy, plan.frozen, plan.loaded),
        tokens=plan.slots,
    )


def scoring(plan: Blueprint) -> Program:
    """Log-probabilities and values of all rows under policy, reference and critic."""
    rows, state, ppo = plan.rollouts, plan.state, plan.config.ppo
    return Program(
        name="score",
        function=score,
        arguments=(state.policy, plan.policy, state.critic, rows.tokens, rows.is_response),
        static={"learner": plan.learner, "pieces": ppo.minibatches * ppo.microbatches},
        arrays={"frozen": plan.frozen},
        resident=(state.policy_opt, state.critic_opt, plan.loaded),
        tokens=rows.tokens.size,
    )


def updating(plan: Blueprint) -> Program:
    """One optimizer step."""
    return Program(
        name="update",
        function=update,
        arguments=(plan.state, plan.minibatch),
        static={"learner": plan.learner},
        arrays={"frozen": plan.frozen},
        resident=(plan.policy, plan.loaded, plan.batch),
        tokens=plan.minibatch.tokens.size,
    )


# In the order of an iteration.
PROGRAMS: Mapping[str, Callable[[Blueprint], Program]] = {
    "prefill": reading,
    "decode": decoding,
    "score": scoring,
    "update": updating,
}

# Of these, the ones that read weights as they are arranged for generation.
SAMPLING = ("prefill", "decode")
