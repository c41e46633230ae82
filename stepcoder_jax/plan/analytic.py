"""Shares of work, exchanges and traffic by formula, where nothing can be compiled."""

import math

import jax

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.collectives import Collective, merged
from stepcoder_jax.plan.memory import Memory, device_bytes, row_parts, width
from stepcoder_jax.plan.programs import Program
from stepcoder_jax.sharding import parts_on

_SAMPLING = ("prefill", "decode")


def estimated_share(plan: Blueprint, program: Program) -> int:
    """Over how many devices the work of a call is shared out; others compute the same.

    Training is split as its rows are, and layers as their heads; sampling as its weights are.
    """
    axis = "embed" if program.name in _SAMPLING else "batch"
    parts = parts_on(axis, plan.mesh) if axis == "embed" else row_parts(plan, program)
    return parts * parts_on("heads", plan.mesh)


def estimated_exchanges(plan: Blueprint, program: Program) -> tuple[Collective, ...]:
    """What devices send to each other, as if each kept to its own rows, or its part of weights."""
    found = _of_sampling(plan, program) if program.name in _SAMPLING else _of_rows(plan, program)
    return merged(c for c in found if c.group > 1 and c.count > 0)


def _of_sampling(plan: Blueprint, program: Program) -> list[Collective]:
    """Where weights are split along their inputs, partial products are added up in float32."""
    model, tokens = plan.model, program.tokens
    heads = (model.num_heads + 2 * model.num_kv_heads) * model.head_dim
    outputs = (heads + 2 * model.intermediate_size) // parts_on("heads", plan.mesh)
    rows = plan.slots if program.name == "decode" else plan.prompts[1].size
    shards = parts_on("embed", plan.mesh)
    return [
        Collective(
            kind="all-reduce", bytes=4 * tokens * outputs, group=shards, count=model.num_layers
        ),
        Collective(kind="all-reduce", bytes=4 * rows * model.vocab_size, group=shards, count=1),
        _of_heads(plan, tokens, passes=1),
    ]


def _of_rows(plan: Blueprint, program: Program) -> list[Collective]:
    """Weights travel in the activations' type once a pass, gradients once a micro-batch."""
    heads, shards = parts_on("heads", plan.mesh), parts_on("embed", plan.mesh)
    weights = sum(math.prod(x.shape) for x in jax.tree.leaves(plan.weights)) // heads
    passes, tokens = _passes(plan, program)
    rows = row_parts(plan, program)
    found = [
        Collective(kind="all-gather", bytes=weights * width(plan), group=shards, count=passes),
        _of_heads(plan, tokens // rows, passes),
    ]
    if program.name == "update":
        trained = jax.tree.leaves((plan.policy, plan.critic))
        found.append(
            Collective(
                kind="reduce-scatter" if shards > 1 else "all-reduce",
                bytes=4 * sum(math.prod(x.shape) for x in trained) // heads,
                group=rows,
                count=plan.config.ppo.microbatches,
            )
        )
    return found


def _of_heads(plan: Blueprint, tokens: int, passes: int) -> Collective:
    """Where a layer is split, attention and feed-forward each add up what goes on."""
    return Collective(
        kind="all-reduce",
        bytes=tokens * plan.model.hidden_size * width(plan),
        group=parts_on("heads", plan.mesh),
        count=2 * plan.model.num_layers * passes,
    )


def estimated_traffic(plan: Blueprint, program: Program, memory: Memory) -> int:
    """Every argument and output once, weights once a pass, what is kept for later twice."""
    passes, _ = _passes(plan, program)
    again = device_bytes(plan.weights) * width(plan) // 4 * max(passes - 1, 0)
    return memory.arguments + memory.outputs + 2 * memory.temporaries + again


def _passes(plan: Blueprint, program: Program) -> tuple[int, int]:
    """How often a call reads all weights of one model, and the tokens of one reading."""
    ppo = plan.config.ppo
    backbones = 2 if plan.learner.critic_kind == "separate" else 1
    if program.name == "update":
        times = 3 if plan.config.model.remat == "layer" else 2
        return times * backbones * ppo.microbatches, program.tokens // ppo.microbatches
    if program.name == "score":
        pieces = ppo.microbatches * ppo.minibatches
        return (1 + backbones) * pieces, program.tokens // pieces
    return 1, program.tokens
