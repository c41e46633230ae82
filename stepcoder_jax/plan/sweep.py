"""Meshes and micro-batches, tried one by one by formula and ranked."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stepcoder_jax.config import MeshConfig, RunConfig
from stepcoder_jax.model.config import ModelConfig
from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.outlook import Outlook, look, trace
from stepcoder_jax.plan.products import Products
from stepcoder_jax.plan.topology import Topology
from stepcoder_jax.plan.useful import useful_flops
from stepcoder_jax.sharding import MESH_AXES, outline_mesh


def sweep(config: RunConfig, model: ModelConfig, topology: Topology) -> list[dict[str, Any]]:
    """Every mesh of powers of two and every number of micro-batches that divides.

    Returns:
      What fits first, then by the least time of an iteration's optimizer steps; by formula, which
      supposes that the compiler shares all work out: compile the best few by themselves.
    """
    outlined = replace(topology, described=None)
    # What is asked for does not depend on the mesh: tracing is what takes time.
    traced: dict[int, Products] = {}
    found = []
    for choice in _choices(config, topology.devices):
        plan = _outlined(choice, model, outlined)
        microbatches = choice.ppo.microbatches
        if microbatches not in traced:
            traced[microbatches] = trace(plan, "update")
        update = look(plan, "update", outlined, useful_flops(plan), traced[microbatches])
        found.append(_trial(choice, plan, update))
    return sorted(found, key=lambda t: (not t["fits"], t["update_s"], t["peak_bytes"]))


def _choices(config: RunConfig, devices: int) -> Iterator[RunConfig]:
    rows = config.rows // config.ppo.minibatches
    for sizes in _factors(devices):
        for microbatches in (n for n in (2**i for i in range(11)) if rows % n == 0):
            fits_critic = config.ppo.advantage != "gae" or microbatches % config.critic.steps == 0
            if fits_critic and (rows // microbatches) % (sizes[0] * sizes[1]) == 0:
                yield replace(
                    config,
                    mesh=MeshConfig(**dict(zip(MESH_AXES, sizes, strict=True))),
                    ppo=replace(config.ppo, microbatches=microbatches),
                )


def _factors(devices: int) -> Iterator[tuple[int, int, int]]:
    """All ways to write a number as a product of three, the last at most 8: a host's devices."""
    for last in (n for n in (1, 2, 4, 8) if devices % n == 0):
        rest = devices // last
        yield from ((rest // n, n, last) for n in range(1, rest + 1) if rest % n == 0)


def _outlined(config: RunConfig, model: ModelConfig, topology: Topology) -> Blueprint:
    mesh = outline_mesh(config.mesh, topology.devices, topology.abstract_device)
    return Blueprint(config=config, model=model, mesh=mesh)


def _trial(config: RunConfig, plan: Blueprint, update: Outlook) -> dict[str, Any]:
    steps = config.ppo.epochs * config.ppo.minibatches
    return {
        "mesh": dict(plan.mesh.shape),
        "microbatches": config.ppo.microbatches,
        "fits": update.fits,
        "peak_bytes": update.peak_bytes,
        "update_s": update.time.least_s * steps,
        "bound": update.time.bound,
        "mfu": round(update.mfu, 4),
    }
