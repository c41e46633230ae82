"""What to change where a recipe does not fit a machine, or wastes it."""

import math
from collections.abc import Sequence

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.memory import device_bytes, rows_together
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
    if any(o.name in SAMPLING for o in short):
        said += _for_sampling(plan)
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


def _for_sampling(plan: Blueprint) -> list[str]:
    slots = plan.slots
    cache = device_bytes(plan.decode_state) / 2**30
    return [
        f"sampling.slots = {slots}: their cache takes {cache:.1f} GiB of every device; it shrinks"
        " in proportion",
        "rollout.prompt_buckets and sampling.max_new_tokens: so does it with their sum",
    ]
