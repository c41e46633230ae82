"""Shares of work, exchanges and traffic by formula, where nothing can be compiled."""

import math
from dataclasses import dataclass

import jax

from stepcoder_jax.logprobs import chunk_shape
from stepcoder_jax.plan.blueprint import Blueprint, Placed
from stepcoder_jax.plan.chips import Chip
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


def estimated_exchanges(plan: Blueprint, program: Program, chip: Chip) -> tuple[Collective, ...]:
    """What devices send to each other, as if each kept to its own rows.

    As libtpu lays it out (docs/scaling.md); what of it is done on the way is in the kinds.
    """
    if program.name in SAMPLING:
        found = _of_sampling(plan, program)
    else:
        found = _of_rows(plan, program, chip)
    return merged(c for c in found if c.group > 1 and c.count > 0)


def _of_sampling(plan: Blueprint, program: Program) -> list[Collective]:
    """Weights are there: what split layers add up, and the split logits of the next tokens."""
    parts = rows_on(plan, program)
    rows = plan.slots if program.name == "decode" else plan.prompts[1].size
    logits = 4 * rows // parts * plan.model.vocab_size
    heads = parts_on("heads", plan.mesh)
    return [
        _sums(plan, program.tokens // parts, heads, 2),
        Collective(kind="all-gather", bytes=logits, group=heads, count=1),
    ]


def _of_rows(plan: Blueprint, program: Program, chip: Chip) -> list[Collective]:
    """Weights travel in the activations' type, for each pass that needs them; gradients once."""
    passes, rows = _passes(plan, program), rows_on(plan, program)
    return [
        *_of_layers(plan, passes, chip),
        *_of_heads(plan, passes, rows),
        *_of_output_matrix(plan, program, chip),
        *(_of_gradients(plan, rows, chip) if program.name == "update" else ()),
    ]


# In larger groups libtpu passes nothing on in steps (seen of 8, 16, 32 and 64 devices).
_LARGEST_IN_STEPS = 32


def _goes_in_steps(plan: Blueprint, chip: Chip) -> bool:
    """Whether weights are passed on part by part, each part's product beside it.

    So it is where rows are split over the same devices as weights, and no others.
    """
    shards = parts_on("embed", plan.mesh)
    is_small = shards <= _LARGEST_IN_STEPS and chip.platform == "tpu"
    return is_small and parts_on("batch", plan.mesh) == shards


def _gathering(plan: Blueprint, chip: Chip) -> str:
    """How split weights are put together: a large torus of three dimensions adds up zeros."""
    is_large = parts_on("embed", plan.mesh) > _LARGEST_IN_STEPS
    return "all-reduce" if is_large and chip.dimensions == 3 else "all-gather"


def _of_layers(plan: Blueprint, passes: "_Passes", chip: Chip) -> list[Collective]:
    """Weights of layers: in steps, but for one of the two times of an update."""
    shards = parts_on("embed", plan.mesh)
    size = _layer_numbers(plan.weights) * width(plan) // parts_on("heads", plan.mesh)
    stepping = passes.gathering - passes.backwards if _goes_in_steps(plan, chip) else 0
    whole = passes.gathering - stepping
    return [
        Collective(kind=_gathering(plan, chip), bytes=size, group=shards, count=whole),
        _in_steps(size, shards, stepping),
    ]


def _in_steps(size: int, shards: int, times: int) -> Collective:
    """An array that goes round part by part: one turn more than it has parts."""
    return Collective(
        kind="collective-permute", bytes=size // shards, group=shards, count=times * (shards + 1)
    )


def _of_output_matrix(plan: Blueprint, program: Program, chip: Chip) -> list[Collective]:
    """Where it is split it travels for each chunk of logits, and so does its gradient."""
    rows = rows_together(plan, program.name)
    response = plan.config.sampling.max_new_tokens
    _, chunks = chunk_shape(response, rows, plan.config.model.logprob_chunk_tokens)
    pieces = program.tokens // (rows * plan.row_tokens)
    shards, numbers = parts_on("embed", plan.mesh), _output_numbers(plan)
    # Policy and reference; or the policy, forwards and backwards.
    times = 2 * chunks * pieces
    kind, size = _gathering(plan, chip), numbers * width(plan)
    found = [Collective(kind=kind, bytes=size, group=shards, count=times)]
    if program.name == "update" and not plan.config.lora.rank:
        # The sum is split at once where other axes split it, too; a table of tokens needs it whole.
        is_whole = plan.model.tie_word_embeddings or plan.mesh.size == shards
        kind = "all-reduce" if is_whole else "reduce-scatter"
        times = chunks * pieces
        found.append(Collective(kind=kind, bytes=4 * numbers, group=shards, count=times))
    return found


def _of_gradients(plan: Blueprint, rows: int, chip: Chip) -> list[Collective]:
    """Of layers in the activations' type, over what splits them and then over copies of that.

    Of all else, over the copies, in float32: an output matrix that is also the table of tokens has
    two gradients.
    """
    trained, shards = (plan.policy, plan.critic), parts_on("embed", plan.mesh)
    numbers = _layer_numbers(trained)
    rest = sum(math.prod(x.shape) for x in jax.tree.leaves(trained)) - numbers
    heads, times = parts_on("heads", plan.mesh), plan.config.ppo.microbatches
    layers, others = numbers * width(plan) // heads, 4 * rest // heads
    if plan.model.tie_word_embeddings and not plan.config.lora.rank:
        others += 4 * _output_numbers(plan)
    copies = max(rows // shards, 1)
    if _goes_in_steps(plan, chip):
        split = _in_steps(layers, shards, times)
    else:
        # A large group of a TPU's has the sums whole, and each device takes its part.
        is_whole = copies == 1 and chip.platform == "tpu"
        kind = "all-reduce" if is_whole else "reduce-scatter"
        split = Collective(kind=kind, bytes=layers, group=shards, count=times)
    added = (layers + others) // shards
    return [split, Collective(kind="all-reduce", bytes=added, group=copies, count=times)]


def _output_numbers(plan: Blueprint) -> int:
    """Of an output matrix, on one device while it is gathered."""
    return plan.model.vocab_size * plan.model.hidden_size // parts_on("vocab", plan.mesh)


def _layer_numbers(params: Placed) -> int:
    """Of all layers of some models."""
    leaves = jax.tree.leaves_with_path(params)
    return sum(math.prod(x.shape) for path, x in leaves if "layers" in jax.tree_util.keystr(path))


def _of_heads(plan: Blueprint, passes: "_Passes", rows: int) -> list[Collective]:
    """Where a layer is split, attention and feed-forward each add up what goes on.

    What is computed again ends before the feed-forward's sum. Keys and values of too few heads are
    on several devices, which add up what goes back from them.
    """
    heads, tokens = parts_on("heads", plan.mesh), passes.tokens // rows
    alike = heads // math.gcd(heads, plan.model.num_kv_heads)
    sums = 2 * (passes.forwards + passes.backwards) + passes.again
    return [
        _sums(plan, tokens, heads, sums),
        _sums(plan, tokens, alike, passes.backwards),
    ]


def _sums(plan: Blueprint, tokens: int, group: int, times: int) -> Collective:
    """Of what all layers hand on, so often a layer."""
    return Collective(
        kind="all-reduce",
        bytes=tokens * plan.model.hidden_size * width(plan),
        group=group,
        count=times * plan.model.num_layers,
    )


def estimated_traffic(plan: Blueprint, program: Program, memory: Memory, chip: Chip) -> int:
    """Every argument and output once, what is kept for later twice, and what each pass moves.

    A pass reads all weights, and writes and reads what layers make of the rows. Weights that are
    split arrive first; where they go round in steps, two parts at a time, their products add up
    forwards once for each step.
    """
    moved = memory.arguments + memory.outputs + 2 * memory.temporaries
    if program.name in SAMPLING:
        return moved
    passes = _passes(plan, program)
    rows = passes.tokens // plan.row_tokens // rows_on(plan, program)
    heads, shards = parts_on("heads", plan.mesh), parts_on("embed", plan.mesh)
    weights = all_parameters(plan) * width(plan) // heads
    made = 2 * plan.model.num_layers * layer_bytes(plan, rows, plan.row_tokens, heads)
    read = (2 * passes.gathering if shards > 1 else passes.all) * weights
    steps = shards // 2 if _goes_in_steps(plan, chip) else 0
    return moved + read + (passes.all + passes.forwards * steps) * made


@dataclass(frozen=True, kw_only=True)
class _Passes:
    """How often a call goes through a model's layers.

    Attributes:
      forwards: for the first time.
      again: forwards once more, for what was not kept (``model.remat``).
      backwards: for gradients.
      tokens: of one pass.
    """

    forwards: int
    again: int = 0
    backwards: int = 0
    tokens: int

    @property
    def all(self) -> int:
        """Of any kind."""
        return self.forwards + self.again + self.backwards

    @property
    def gathering(self) -> int:
        """Those that need weights which no other pass has just used."""
        return self.forwards + self.backwards


def _passes(plan: Blueprint, program: Program) -> _Passes:
    backbones = 2 if plan.learner.critic_kind == "separate" else 1
    if program.name not in ("update", "score"):
        return _Passes(forwards=1, tokens=program.tokens)
    tokens = rows_together(plan, program.name) * plan.row_tokens
    pieces = program.tokens // tokens
    if program.name == "score":
        return _Passes(forwards=(1 + backbones) * pieces, tokens=tokens)
    count = backbones * pieces
    again = count if plan.config.model.remat == "layer" else 0
    return _Passes(forwards=count, again=again, backwards=count, tokens=tokens)
