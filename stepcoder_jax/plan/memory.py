"""Bytes on one device: what a program is given, what it makes, what lies there besides."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from stepcoder_jax.model.precision import is_layer_weight
from stepcoder_jax.plan.blueprint import Blueprint, Placed
from stepcoder_jax.plan.programs import SAMPLING, Program
from stepcoder_jax.sharding import parts_on


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
    resident: int
    code: int = 0

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
    """Arguments from their shapes, exactly; temporaries by formula, as if perfectly split.

    Of the layers: what the backward pass keeps of each (``model.remat``) and one layer's work,
    which with the attention backend ``xla`` holds all logits in float32. Beside them gradients,
    in float32 once more where micro-batches add up, and copies of a chunk's logits: as many as
    compiled updates were found to have.
    """
    match program.name:
        case "prefill" | "decode":
            return _while_sampling(plan, program)
        case "score":
            parts = rows_on(plan, program)
            rows = rows_together(plan, program.name) // parts
            outputs, aliased = device_bytes(plan.scores) // parts, 0
            temporaries = layer_bytes(plan, rows, plan.row_tokens) + 2 * _chunk_bytes(plan)
        case "update":
            rows = rows_together(plan, program.name) // rows_on(plan, program)
            outputs = aliased = device_bytes(plan.state)
            temporaries = _backwards(plan, rows) + _whole_parts(plan)
        case unknown:
            raise ValueError(f"there is no formula for the program {unknown!r}")
    return Memory(
        arguments=device_bytes(program.arguments) + device_bytes(program.arrays),
        outputs=outputs,
        aliased=aliased,
        temporaries=temporaries,
        resident=device_bytes(program.resident),
    )


def _while_sampling(plan: Blueprint, program: Program) -> Memory:
    given = device_bytes(program.arguments) - device_bytes(plan.served) + served_bytes(plan)
    is_prefill = program.name == "prefill"
    rows, length = program.arguments[1].shape if is_prefill else (plan.slots, 1)
    rows //= rows_on(plan, program)
    written = device_bytes(program.arguments[1])
    made = _cache_bytes(plan, rows, length) if is_prefill else written
    return Memory(
        arguments=given,
        outputs=made,
        aliased=0 if is_prefill else made,
        temporaries=layer_bytes(plan, rows, length) + 8 * rows * plan.model.vocab_size,
        resident=device_bytes(program.resident),
    )


def served_bytes(plan: Blueprint) -> int:
    """Weights for generation, on one device."""
    if all(x.sharding is not None for x in jax.tree.leaves(plan.served)):
        return device_bytes(plan.served)
    # Not compiled, so not placed: layers are split, and nothing else.
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(plan.weights))
    return numbers * width(plan) // parts_on("heads", plan.mesh)


def _chunk_bytes(plan: Blueprint) -> int:
    """A chunk's logits in float32."""
    chunk = plan.config.model.logprob_chunk_tokens * plan.model.vocab_size
    return 4 * chunk // plan.mesh.size


def _backwards(plan: Blueprint, rows: int) -> int:
    """Gradients of one model, and what they are made of; a separate critic's step waits."""
    is_separate = plan.learner.critic_kind == "separate"
    steps = (plan.policy, plan.critic) if is_separate else ((plan.policy, plan.critic),)
    gradients = max(_gradient_bytes(plan, trained) for trained in steps)
    kept = _cast_bytes(plan) + _kept_of_layers(plan, rows)
    work = layer_bytes(plan, rows, plan.row_tokens) + 4 * _chunk_bytes(plan)
    return gradients + kept + work


def _gradient_bytes(plan: Blueprint, trained: Any) -> int:
    """Of weights of layers in the type that they are computed in; and the sums of micro-batches."""
    leaves = jax.tree_util.tree_leaves_with_path(trained)
    of_one = sum(
        device_bytes(x) * (width(plan) if is_layer_weight(path) else 4) // 4 for path, x in leaves
    )
    return of_one + (device_bytes(trained) if plan.config.ppo.microbatches > 1 else 0)


def _cast_bytes(plan: Blueprint) -> int:
    """Weights once more in the activations' type, where that is another."""
    kept = device_bytes(plan.weights)
    return kept * width(plan) // 4 if width(plan) < 4 else 0


def _whole_parts(plan: Blueprint) -> int:
    """Of weights that are split: two layers gathered, the output matrix, and half of one more.

    That half is what compiled updates were found to have between them of its gradient.
    """
    if parts_on("embed", plan.mesh) == 1:
        return 0
    layers = sum(math.prod(x.shape) for x in jax.tree.leaves(plan.weights["layers"]))
    head = plan.model.vocab_size * plan.model.hidden_size
    numbers = 2 * layers // plan.model.num_layers + 3 * head // 2
    return numbers * width(plan) // parts_on("heads", plan.mesh)


def _kept_of_layers(plan: Blueprint, rows: int) -> int:
    """What the backward pass of one micro-batch finds of the forward pass."""
    model = plan.model
    tokens = rows * plan.row_tokens
    inputs = tokens * model.hidden_size * width(plan)
    match plan.config.model.remat:
        case "layer":
            return model.num_layers * inputs
        case "dots":
            # Queries, keys, values, what is attended; gate and up; the two products that are added.
            heads = 2 * (model.num_heads + model.num_kv_heads) * model.head_dim
            products = heads + 2 * model.intermediate_size + 2 * model.hidden_size
            return model.num_layers * (inputs + tokens * products * width(plan))
        case "none":
            return model.num_layers * (inputs + layer_bytes(plan, rows, plan.row_tokens))


def width(plan: Blueprint) -> int:
    """Bytes of an activation."""
    return 2 if plan.config.model.dtype == "bfloat16" else 4


def rows_on(plan: Blueprint, program: Program) -> int:
    """Into how many parts the mesh splits rows that are computed together; 1 where it does not."""
    if program.name in SAMPLING:
        return parts_on("batch", plan.mesh)
    tokens = plan.minibatch.tokens if program.name == "update" else plan.rollouts.tokens
    placed = tokens.shape[0] // tokens.sharding.shard_shape(tokens.shape)[0]
    return math.gcd(placed, rows_together(plan, program.name))


def rows_together(plan: Blueprint, name: str) -> int:
    """Rows of a micro-batch of a training program, on all devices."""
    ppo = plan.config.ppo
    if name == "update":
        return plan.update_rows // ppo.microbatches
    return plan.config.rows // (ppo.minibatches * ppo.microbatches)


def _cache_bytes(plan: Blueprint, rows: int, length: int) -> int:
    model, parts = plan.model, parts_on("kv_heads", plan.mesh)
    heads = model.num_kv_heads if model.num_kv_heads % parts else model.num_kv_heads // parts
    return 2 * model.num_layers * heads * model.head_dim * width(plan) * rows * length


def layer_bytes(plan: Blueprint, rows: int, length: int, parts: int = 1) -> int:
    """What one layer makes of rows: norms, heads, gated feed-forward, attention's logits.

    Args:
      parts: of the layer, of which this is one; norms are whole in each.
    """
    model = plan.model
    heads = (model.num_heads * 2 + model.num_kv_heads * 2) * model.head_dim
    split = (heads + 3 * model.intermediate_size) // parts
    per_token = (4 * model.hidden_size + split) * width(plan)
    is_whole = plan.config.model.attention == "xla" and length > 1
    logits = 2 * 4 * model.num_heads * length * length // parts if is_whole else 0
    return rows * (length * per_token + logits)
