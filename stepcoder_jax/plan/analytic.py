"""Shares of work, exchanges and traffic by formula, where nothing can be compiled."""

import math
from dataclasses import dataclass

import jax

from stepcoder_jax.logprobs import chunk_shape
from stepcoder_jax.plan.blueprint import Blueprint, Placed
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
    passes, rows = _passes(plan, program), rows_on(plan, program)
    layers = _layer_numbers(plan.weights) * width(plan) // parts_on("heads", plan.mesh)
    shards = parts_on("embed", plan.mesh)
    return [
        Collective(kind="all-gather", bytes=layers, group=shards, count=passes.gathering),
        _of_heads(plan, passes.tokens // rows, passes.all),
        *_of_output_matrix(plan, program),
        *(_of_gradients(plan, rows) if program.name == "update" else ()),
    ]


def _of_output_matrix(plan: Blueprint, program: Program) -> list[Collective]:
    """Where it is split it travels for each chunk of logits, and so does its gradient."""
    rows = rows_together(plan, program.name)
    response = plan.config.sampling.max_new_tokens
    _, chunks = chunk_shape(response, rows, plan.config.model.logprob_chunk_tokens)
    pieces = program.tokens // (rows * plan.row_tokens)
    numbers = plan.model.vocab_size * plan.model.hidden_size // parts_on("vocab", plan.mesh)
    size, shards = numbers * width(plan), parts_on("embed", plan.mesh)
    # Policy and reference; or the policy, forwards and backwards.
    found = [Collective(kind="all-gather", bytes=size, group=shards, count=2 * chunks * pieces)]
    if program.name == "update" and not plan.config.lora.rank:
        found.append(
            Collective(kind="all-reduce", bytes=4 * numbers, group=shards, count=chunks * pieces)
        )
    return found


def _of_gradients(plan: Blueprint, rows: int) -> list[Collective]:
    """Of layers in the activations' type; of embeddings, where they are whole, in float32."""
    trained = (plan.policy, plan.critic)
    layers = _layer_numbers(trained)
    is_split = parts_on("embed", plan.mesh) > 1
    rest = 0 if is_split else sum(math.prod(x.shape) for x in jax.tree.leaves(trained)) - layers
    return [
        Collective(
            kind="reduce-scatter" if is_split else "all-reduce",
            bytes=(layers * width(plan) + 4 * rest) // parts_on("heads", plan.mesh),
            group=rows,
            count=plan.config.ppo.microbatches,
        )
    ]


def _layer_numbers(params: Placed) -> int:
    """Of all layers of some models."""
    leaves = jax.tree.leaves_with_path(params)
    return sum(math.prod(x.shape) for path, x in leaves if "layers" in jax.tree_util.keystr(path))


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
