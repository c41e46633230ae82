"""What to change where a recipe does not fit a machine, or wastes it."""

import math
from collections.abc import Sequence

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.memory import device_bytes, rows_together, served_bytes
from stepcoder_jax.plan.outlook import Outlook
from stepcoder_jax.plan.programs import SAMPLING
from stepcoder_jax.sharding import parts_on

# Repeating this much of the work is worth a word.
_REPEATED = 1.2


def advice(plan: Blueprint, outlooks: Sequence[Outlook]) -> list[str]:
    """One sentence a remedy, those that cost least first; empty where nothing is wrong."""
    said = []
    short = [o for o in outlooks if not o.fits]
    if any(o.name in ("update", "score") for o in short):
        said += _for_training(plan)
    sampling = [o for o in short if o.name in SAMPLING]
    if sampling:
        said += _for_sampling(plan, min(o.free_bytes for o in sampling))
    said += [_on_repeating(plan, o) for o in outlooks if o.repeated > _REPEATED]
    return said


def _on_repeating(plan: Blueprint, outlook: Outlook) -> str:
    said = f"{outlook.name}: each product is computed on {outlook.repeated:.1f} devices"
    data, fsdp, tensor = plan.mesh.axis_names
    parts = parts_on("batch", plan.mesh)
    rows = parts if outlook.name in SAMPLING else rows_together(plan, outlook.name)
    split = math.gcd(rows, parts)
    if split < parts:
        return (
            f"{said}, since {rows} rows do not split into {parts} parts: take mesh.{data} ×"
            f" mesh.{fsdp} = {split} and mesh.{tensor} = {plan.mesh.size // split}"
        )
    return f"{said}; as many devices fewer along the mesh's row axes would be as fast"


def _for_training(plan: Blueprint) -> list[str]:
    config, mesh = plan.config, plan.mesh
    axis, shards = mesh.axis_names[1], parts_on("embed", mesh)
    said = []
    if mesh.shape[mesh.axis_names[0]] > 1:
        said.append(
            f"mesh.{axis} = {shards}: weights and moments are split {shards} ways over {mesh.size}"
            f" devices; take mesh.{mesh.axis_names[0]} = 1 and mesh.{axis} = -1"
        )
    if config.model.remat != "layer":
        said.append(f"model.remat = {config.model.remat}: layer keeps each layer's input alone")
    if config.model.attention == "xla":
        said.append("model.attention = xla holds all of attention's logits: splash or cudnn do not")
    rows = plan.update_rows // config.ppo.microbatches
    if rows > parts_on("batch", mesh):
        said.append(
            f"ppo.microbatches = {config.ppo.microbatches}: {rows} rows at a time on"
            f" {parts_on('batch', mesh)} parts of the mesh; more micro-batches hold fewer"
        )
    for name in ("policy_optimizer", "critic_optimizer"):
        if getattr(config, name).first_moment_dtype == "float32" and config.lora.rank == 0:
            said.append(f"{name}: first_moment_dtype bfloat16, second_moments factored")
    if plan.learner.critic_kind == "separate":
        said.append("critic.backbone = separate: shared, or ppo.advantage grpo or rloo, spares one")
    if config.lora.rank == 0:
        gib = device_bytes(plan.state) / 2**30
        said.append(f"lora.rank = 0: adapters spare most of the state's {gib:.1f} GiB a device")
    said.append(f"mesh.{mesh.axis_names[2]}: more devices for each layer; or a larger slice")
    return said


def _for_sampling(plan: Blueprint, free_bytes: int) -> list[str]:
    """What takes most room comes first: weights, training state, cache.

    Args:
      free_bytes: of the device's memory; negative.
    """
    cache, state = device_bytes(plan.decode_state), device_bytes(plan.state)
    found = [
        (served_bytes(plan), [_on_served(plan, -free_bytes)]),
        (state, _on_state(plan, state)),
        (
            cache,
            [
                f"sampling.slots = {plan.slots}: their cache takes {cache / 2**30:.1f} GiB of every"
                " device; it shrinks in proportion",
                "rollout.prompt_buckets and sampling.max_new_tokens: so does it with their sum",
            ],
        ),
    ]
    return [line for _, lines in sorted(found, key=lambda x: -x[0]) for line in lines]


def _on_served(plan: Blueprint, missing: int) -> str:
    """Only ``tensor`` splits the weights that are generated with."""
    data, fsdp, tensor = plan.mesh.axis_names
    parts, served = plan.mesh.shape[tensor], served_bytes(plan)
    others = plan.mesh.size // parts
    factors = [f for f in range(2, others + 1) if others % f == 0 and _splits(plan, parts * f)]
    enough = [f for f in factors if served - served // f >= missing]
    said = (
        f"mesh.{tensor} = {parts}: weights for generation take {served / 2**30:.1f} GiB of every"
        " device, whatever the other axes are"
    )
    if not factors:
        narrower = "" if plan.config.model.dtype == "bfloat16" else "model.dtype = bfloat16, or "
        return f"{said}; {narrower}a larger slice"
    factor = enough[0] if enough else factors[-1]
    return (
        f"{said}; take mesh.{tensor} = {parts * factor} and mesh.{data} × mesh.{fsdp} ="
        f" {others // factor}: {served / factor / 2**30:.1f} GiB"
    )


def _splits(plan: Blueprint, parts: int) -> bool:
    model = plan.model
    sizes = (model.num_heads, model.intermediate_size, model.vocab_size)
    return all(size % parts == 0 for size in sizes)


def _on_state(plan: Blueprint, state: int) -> list[str]:
    data, fsdp, _ = plan.mesh.axis_names
    said = (
        f"mesh.{fsdp} = {plan.mesh.shape[fsdp]}: the training state stays meanwhile,"
        f" {state / 2**30:.1f} GiB of every device"
    )
    if plan.mesh.shape[data] > 1:
        said += f"; mesh.{data} = 1 and mesh.{fsdp} = -1 split it further"
    elif plan.config.lora.rank == 0:
        said += "; lora.rank above 0 spares most of it"
    return [said]
