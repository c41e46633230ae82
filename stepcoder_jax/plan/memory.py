"""Bytes on one device: what a program is given, what it makes, what lies there besides."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from stepcoder_jax.plan.programs import Blueprint, Placed, Program


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of one device while one program runs.

    Attributes:
      arguments, outputs: of the program; ``aliased`` of the outputs lie where arguments lay.
      temporaries: between the two.
      code: the program itself.
      resident: what is kept meanwhile for other programs.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    resident: int

    @property
    def peak(self) -> int:
        """At most at one time, as far as the compiler says."""
        made = self.outputs - self.aliased + self.temporaries + self.code
        return self.arguments + made + self.resident


def device_bytes(tree: Placed) -> int:
    """Bytes of a tree of placed shapes on one device; without a place they count whole."""
    return sum(_bytes(x) for x in jax.tree.leaves(tree))


def _bytes(x: Any) -> int:
    shape = x.shape if x.sharding is None else x.sharding.shard_shape(x.shape)
    item = 8 if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x.dtype.itemsize
    return math.prod(shape) * item


def compiled_memory(program: Program, compiled: Any) -> Memory:
    """What the compiler says of a program."""
    found = compiled.memory_analysis()
    return Memory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes,
        aliased=found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
        resident=device_bytes(program.resident),
    )


def estimated_memory(plan: Blueprint, program: Program) -> Memory:
    """Arguments from their shapes, exactly; temporaries by formula (docs/scaling.md).

    Of the layers: what the backward pass keeps of each (``model.remat``) and one layer's work;
    with the attention backend ``xla`` that holds all logits in float32. Beside them gradients,
    twice where micro-batches add up, and two copies of a chunk's logits. Perfectly split.
    """
    config, model, mesh = plan.config, plan.model, plan.mesh
    width = 2 if config.model.dtype == "bfloat16" else 4
    given = device_bytes(program.arguments) + device_bytes(program.arrays)
    served = device_bytes(plan.weights) * width // 4
    cache = device_bytes(plan.decode.arguments[1])
    logits = 2 * 4 * config.model.logprob_chunk_tokens * model.vocab_size // mesh.size
    if program.name in ("prefill", "decode"):
        loose = device_bytes(plan.served)
        given += served - loose if _is_loose(plan.served) else 0
        rows, length = program.arguments[1].shape if program.name == "prefill" else (plan.slots, 1)
        made = _cache_bytes(plan, rows, length) if program.name == "prefill" else 0
        work = _layer_bytes(plan, rows, length, width) + 8 * plan.slots * model.vocab_size
        resident = device_bytes(program.resident)
        outputs, aliased = (cache, cache) if program.name == "decode" else (made, 0)
        return Memory(
            arguments=given,
            outputs=outputs,
            aliased=aliased,
            temporaries=work,
            code=0,
            resident=resident,
        )
    pieces = config.ppo.microbatches * (config.ppo.minibatches if program.name == "score" else 1)
    rows_all = config.rows if program.name == "score" else plan.update_rows
    rows = math.ceil(rows_all / pieces / _row_parts(plan))
    work = _layer_bytes(plan, rows, plan.row_tokens, width) + logits
    if program.name == "score":
        return Memory(
            arguments=given,
            outputs=4 * 4 * rows_all * plan.row_tokens // _row_parts(plan),
            aliased=0,
            temporaries=work,
            code=0,
            resident=device_bytes(program.resident),
        )
    gradients = device_bytes(plan.policy) * (2 if config.ppo.microbatches > 1 else 1)
    kept = rows * plan.row_tokens * model.hidden_size * width * model.num_layers
    if config.model.remat != "layer":
        kept += work * model.num_layers
    state = device_bytes(plan.state)
    return Memory(
        arguments=given,
        outputs=state,
        aliased=state,
        temporaries=gradients + kept + work,
        code=0,
        resident=device_bytes(program.resident),
    )


def _is_loose(served: Placed) -> bool:
    return any(x.sharding is None for x in jax.tree.leaves(served))


def _row_parts(plan: Blueprint) -> int:
    """Into how many parts rows are split."""
    tokens = plan.rollouts.tokens
    return plan.config.rows // tokens.sharding.shard_shape(tokens.shape)[0]


def _cache_bytes(plan: Blueprint, rows: int, length: int) -> int:
    model, width = plan.model, 2 if plan.config.model.dtype == "bfloat16" else 4
    per_token = 2 * model.num_layers * model.num_kv_heads * model.head_dim * width
    return per_token * rows * length


def _layer_bytes(plan: Blueprint, rows: int, length: int, width: int) -> int:
    """What one layer makes of rows: norms, heads, gated feed-forward, attention's logits."""
    model = plan.model
    heads = (model.num_heads * 2 + model.num_kv_heads * 2) * model.head_dim
    per_token = (4 * model.hidden_size + heads + 3 * model.intermediate_size) * width
    is_whole = plan.config.model.attention == "xla" and length > 1
    logits = 2 * 4 * model.num_heads * length * length if is_whole else 0
    return rows * (length * per_token + logits)
