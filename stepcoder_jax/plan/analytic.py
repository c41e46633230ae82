"""Exchanges and traffic by formula, where nothing can be compiled."""

import math

import jax

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.collectives import Collective, merged
from stepcoder_jax.plan.memory import Memory, device_bytes
from stepcoder_jax.plan.programs import Program
from stepcoder_jax.sharding import parts_on


def estimated_exchanges(plan: Blueprint, program: Program) -> tuple[Collective, ...]:
    """Weights gathered where they are split, gradients reduced, activations of a split layer added.

    Weights travel in the activations' type once for each pass over them; gradients in float32 once
    for each model and micro-batch. Rows of different devices need each other's gradients only.
    """
    model, config = plan.model, plan.config
    width = 2 if config.model.dtype == "bfloat16" else 4
    rows, shards, heads = (parts_on(axis, plan.mesh) for axis in ("batch", "embed", "heads"))
    weights = sum(math.prod(x.shape) for x in jax.tree.leaves(plan.weights)) // heads
    passes, tokens = _passes(plan, program)
    found = []
    if shards > 1:
        found.append(
            Collective(kind="all-gather", bytes=weights * width, group=shards, count=passes)
        )
    if heads > 1:
        moved = tokens // (1 if program.name in ("prefill", "decode") else rows)
        size = moved * model.hidden_size * width
        count = 2 * model.num_layers * (passes if program.name == "decode" else 2)
        found.append(Collective(kind="all-reduce", bytes=size, group=heads, count=count))
    if program.name == "update" and rows > 1:
        trained = (
            sum(math.prod(x.shape) for x in jax.tree.leaves((plan.policy, plan.critic))) // heads
        )
        kind = "reduce-scatter" if shards > 1 else "all-reduce"
        count = config.ppo.microbatches
        found.append(Collective(kind=kind, bytes=4 * trained, group=rows, count=count))
    return merged(found)


def estimated_traffic(plan: Blueprint, program: Program, memory: Memory) -> int:
    """Every argument and output once, weights once a pass, what is kept for later twice."""
    width = 2 if plan.config.model.dtype == "bfloat16" else 4
    passes, _ = _passes(plan, program)
    again = device_bytes(plan.weights) * width // 4 * max(passes - 1, 0)
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
