"""What one program of a recipe comes to on one machine."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AbstractMesh, use_abstract_mesh

from stepcoder_jax.plan.analytic import estimated_exchanges, estimated_share, estimated_traffic
from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.collectives import Collective, collectives
from stepcoder_jax.plan.compiled import TooLarge, compile_program
from stepcoder_jax.plan.hlo import parse
from stepcoder_jax.plan.memory import Memory, compiled_memory, estimated_memory
from stepcoder_jax.plan.products import Products, compiled_products, traced_products
from stepcoder_jax.plan.programs import PROGRAMS, Program
from stepcoder_jax.plan.roofline import Roofline, roofline
from stepcoder_jax.plan.topology import Topology
from stepcoder_jax.plan.traffic import bytes_moved


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """One call of a program.

    Attributes:
      source: ``compiled``; ``estimated``: by formula; ``too large``: by formula, since the compiler
        found no way to run it in the memory there is.
      traced_flops: with what is computed twice on purpose, on all devices.
      device_flops: on one device.
      moved_bytes: to and from one device's memory.
      needed_bytes: what the compiler says that the program needs, if it says no more than that.
    """

    name: str
    source: str
    tokens: int
    memory: Memory
    hbm_bytes: int
    useful_flops: float
    traced_flops: float
    device_flops: float
    moved_bytes: float
    exchanges: Sequence[Collective]
    time: Roofline
    devices: int
    chips: int
    peak_flops_per_s: float
    needed_bytes: int | None = None

    @property
    def peak_bytes(self) -> int:
        """Memory at most, of one device."""
        if self.needed_bytes is None:
            return self.memory.peak
        return self.needed_bytes + self.memory.resident

    @property
    def free_bytes(self) -> int:
        """What is left of the device's memory; negative: what is missing."""
        return self.hbm_bytes - self.peak_bytes

    @property
    def fits(self) -> bool:
        """Whether the device's memory holds it and all that lies there besides."""
        return self.free_bytes >= 0 and self.source != "too large"

    @property
    def repeated(self) -> float:
        """How many devices compute the same: 1 where all work is shared out."""
        return self.device_flops * self.devices / self.traced_flops

    @property
    def tokens_per_s_per_chip(self) -> float:
        """At most: by ``time.least_s``."""
        return self.tokens / self.time.least_s / self.chips

    @property
    def mfu(self) -> float:
        """Useful operations as a share of what the chips can do in ``time.least_s``."""
        return self.useful_flops / (self.time.least_s * self.devices * self.peak_flops_per_s)

    def to_json(self) -> dict[str, Any]:
        """As the command prints it."""
        memory = self.memory
        return {
            "program": self.name,
            "source": self.source,
            "fits": self.fits,
            "tokens": self.tokens,
            "argument_bytes": memory.arguments,
            "output_bytes": memory.outputs,
            "aliased_bytes": memory.aliased,
            "temporary_bytes": memory.temporaries,
            "code_bytes": memory.code,
            "resident_bytes": memory.resident,
            "peak_bytes": self.peak_bytes,
            "free_bytes": self.free_bytes,
            "model_flops": self.useful_flops,
            "traced_flops": self.traced_flops,
            "device_flops": self.device_flops,
            "repeated": round(self.repeated, 3),
            "moved_bytes": self.moved_bytes,
            "collectives": [
                {
                    "kind": c.kind,
                    "bytes": c.bytes,
                    "group": c.group,
                    "count": c.count,
                    "total_bytes": c.total_bytes,
                }
                for c in self.exchanges
            ],
            "compute_s": self.time.compute_s,
            "memory_s": self.time.memory_s,
            "network_s": self.time.network_s,
            "least_s": self.time.least_s,
            "in_turn_s": self.time.in_turn_s,
            "bound": self.time.bound,
            "tokens_per_s_per_chip": round(self.tokens_per_s_per_chip, 1),
            "mfu": round(self.mfu, 4),
        }


def look(
    plan: Blueprint,
    name: str,
    topology: Topology,
    useful: Mapping[str, float],
    traced: Products | None = None,
) -> Outlook:
    """Compiles a program where there are devices to compile it for, else estimates.

    Args:
      name: one of ``PROGRAMS``.
      useful: operations that the mathematics asks for, by program.
      traced: what ``trace`` says, if that is known.
    """
    with on_mesh(plan):
        program = PROGRAMS[name](plan)
        traced = traced or _traced(plan, program)
        compiled = compile_program(program) if topology.described is not None else None
        if compiled is None or isinstance(compiled, TooLarge):
            return _estimated(plan, program, topology, useful, traced, compiled)
    module = parse(compiled.as_text())
    return _outlook(
        plan,
        program,
        topology,
        useful,
        traced,
        source="compiled",
        memory=compiled_memory(program, compiled),
        device_flops=compiled_products(module) + traced.kernel_flops,
        moved_bytes=bytes_moved(module),
        exchanges=collectives(module, topology.devices),
    )


def trace(plan: Blueprint, name: str) -> Products:
    """Operations of one call of a program as it is written."""
    with on_mesh(plan):
        return _traced(plan, PROGRAMS[name](plan))


def _traced(plan: Blueprint, program: Program) -> Products:
    traced = program.function.trace(*program.arguments, **program.static, **program.arrays)
    return traced_products(traced.jaxpr.jaxpr, plan.mesh.size)


def on_mesh(plan: Blueprint) -> AbstractContextManager[Any]:
    """The plan's mesh as the current one."""
    mesh = plan.mesh
    return use_abstract_mesh(mesh) if isinstance(mesh, AbstractMesh) else jax.set_mesh(mesh)


def _estimated(
    plan: Blueprint,
    program: Program,
    topology: Topology,
    useful: Mapping[str, float],
    traced: Products,
    refused: TooLarge | None,
) -> Outlook:
    memory = estimated_memory(plan, program)
    return _outlook(
        plan,
        program,
        topology,
        useful,
        traced,
        source="estimated" if refused is None else "too large",
        memory=memory,
        device_flops=traced.flops / estimated_share(plan, program),
        moved_bytes=estimated_traffic(plan, program, memory, topology.chip),
        exchanges=estimated_exchanges(plan, program, topology.chip),
        needed_bytes=None if refused is None else refused.needed_bytes,
    )


def _outlook(
    plan: Blueprint,
    program: Program,
    topology: Topology,
    useful: Mapping[str, float],
    traced: Products,
    *,
    source: str,
    memory: Memory,
    device_flops: float,
    moved_bytes: float,
    exchanges: Sequence[Collective],
    needed_bytes: int | None = None,
) -> Outlook:
    device = topology.device
    return Outlook(
        name=program.name,
        source=source,
        tokens=program.tokens,
        memory=memory,
        hbm_bytes=device.hbm_bytes,
        useful_flops=useful[program.name],
        traced_flops=traced.flops,
        device_flops=device_flops,
        moved_bytes=moved_bytes,
        exchanges=exchanges,
        time=roofline(device, flops=device_flops, moved_bytes=moved_bytes, exchanges=exchanges),
        devices=topology.devices,
        chips=topology.chips,
        peak_flops_per_s=device.flops_per_s,
        needed_bytes=needed_bytes,
    )
