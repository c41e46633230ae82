"""Shares of work, exchanges and traffic by formula, where nothing can be compiled."""

import math
from dataclasses import dataclass

import jax

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.collectives import Collective, merged
from stepcoder_jax.plan.memory import Memory, layer_bytes, rows_on, rows_together, width
from stepcoder_jax.plan.programs import SAMPLING, Program
from stepcoder_jax.plan.useful import all_parameters
from stepcoder_jax.sharding import parts_on


def estimated_share(plan: Blueprint, program: Program) -> int:
    """Over how many devices the work of a call is shared out; others compute the same.

    Rows are split, and layers as their heads.
    """
    return rows_on(plan, program) * parts_on("heads", plan.mesh)


def estimated_exchanges(plan: Blueprint, program: Program) -> tuple[Collective, ...]:
    """What devices send to each other, as if each kept to its own rows."""
    found = _of_sampling(plan, program) if program.name in SAMPLING else _of_rows(plan, program)
    return merged(c for c in found if c.group > 1 and c.count > 0)


def _of_sampling(plan: Blueprint, program: Program) -> list[Collective]:
    """Weights are there: what split layers add up, and the split logits of the next tokens."""
    parts = rows_on(plan, program)
    rows = plan.slots if program.name == "decode" else plan.prompts[1].size
    logits = 4 * rows // parts * plan.model.vocab_size
    heads = parts_on("heads", plan.mesh)
    return [
        _of_heads(plan, program.tokens // parts, passes=1),
        Collective(kind="all-gather", bytes=logits, group=heads, count=1),
    ]


def _of_rows(plan: Blueprint, program: Program) -> list[Collective]:
    """Weights travel in the activations' type, once forwards and once backwards; gradients once."""
    heads, shards = parts_on("heads", plan.mesh), parts_on("embed", plan.mesh)
    passes, rows = _passes(plan, program), rows_on(plan, program)
    weights = all_parameters(plan) // heads * width(plan)
    found = [
        Collective(kind="all-gather", bytes=weights, group=shards, count=passes.gathering),
        _of_heads(plan, passes.tokens // rows, passes.all),
    ]
    if program.name == "update":
        found.append(
            Collective(
                kind="reduce-scatter" if shards > 1 else "all-reduce",
                bytes=_gradient_bytes(plan) // heads,
                group=rows,
                count=plan.config.ppo.microbatches,
            )
        )
    return found


def _gradient_bytes(plan: Blueprint) -> int:
    """As they travel: of layers in the activations' type, of embeddings in float32."""
    trained = jax.tree.leaves_with_path((plan.policy, plan.critic))
    return sum(
        math.prod(x.shape) * (width(plan) if "layers" in jax.tree_util.keystr(path) else 4)
        for path, x in trained
    )


def _of_heads(plan: Blueprint, tokens: int, passes: int) -> Collective:
    """Where a layer is split, attention and feed-forward each add up what goes on."""
    return Collective(
        kind="all-reduce",
        bytes=tokens * plan.model.hidden_size * width(plan),
        group=parts_on("heads", plan.mesh),
        count=2 * plan.model.num_layers * passes,
    )


def estimated_traffic(plan: Blueprint, program: Program, memory: Memory) -> int:
    """Every argument and output once, what is kept for later twice, and what each pass moves.

    A pass reads all weights, and writes and reads what layers make of the rows. Weights that are
    split arrive first, two parts at a time, and forwards their products add up once for each time.
    """
    moved = memory.arguments + memory.outputs + 2 * memory.temporaries
    if program.name in SAMPLING:
        return moved
    passes = _passes(plan, program)
    rows = passes.tokens // plan.row_tokens // rows_on(plan, program)
    heads, shards = parts_on("heads", plan.mesh), parts_on("embed", plan.mesh)
    weights = all_parameters(plan) * width(plan) // heads
    made = 2 * plan.model.num_layers * layer_bytes(plan, rows, plan.row_tokens) // heads
    read = (2 * passes.gathering if shards > 1 else passes.all) * weights
    return moved + read + (passes.all + passes.forwards * (shards // 2)) * made


@dataclass(frozen=True, kw_only=True)
class _Passes:
    """How often a call goes through a model's layers.

    Attributes:
      forwards: for the first time.
      all: forwards, forwards again, backwards.
      gathering: those that need weights which no other pass has just used.
      tokens: of one pass.
    """

    forwards: int
    all: int
    gathering: int
    tokens: int


def _passes(plan: Blueprint, program: Program) -> _Passes:
    backbones = 2 if plan.learner.critic_kind == "separate" else 1
    if program.name not in ("update", "score"):
        return _Passes(forwards=1, all=1, gathering=1, tokens=program.tokens)
    tokens = rows_together(plan, program.name) * plan.row_tokens
    pieces = program.tokens // tokens
    if program.name == "score":
        count = (1 + backbones) * pieces
        return _Passes(forwards=count, all=count, gathering=count, tokens=tokens)
    count = backbones * pieces
    times = 3 if plan.config.model.remat == "layer" else 2
    return _Passes(forwards=count, all=times * count, gathering=2 * count, tokens=tokens)
