"""What a compiled program's devices send to each other."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stepcoder_jax.plan.chips import Chip
from stepcoder_jax.plan.hlo import Instruction, Module, byte_count

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_CHANNEL = re.compile(r"channel_id=(\d+)")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]*)\}")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=")
_MESH = re.compile(r"replica_groups=(?:@?\w*)?mesh\[([^\]]*)\]\s*\{([^}]*)\}")
_SIZE = re.compile(r"'(\w+)'=(\d+)")
_AXIS = re.compile(r"'(\w+)'(?::\(\d+\)(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Collective:
    """Equal exchanges of one program.

    Attributes:
      bytes: of the whole array on one device: what is gathered, or what is reduced.
      group: devices that take part together.
      count: how often in one call of the program.
    """

    kind: str
    bytes: int
    group: int
    count: int

    @property
    def total_bytes(self) -> int:
        """Of all of them."""
        return self.bytes * self.count

    def seconds(self, chip: Chip) -> float:
        """On rings along one dimension of the torus (ring algorithms; latency left out)."""
        if self.kind == "collective-permute":
            share = 1.0
        else:
            share = (self.group - 1) / self.group * (2 if self.kind == "all-reduce" else 1)
        return self.total_bytes * share / chip.axis_bytes_per_s


def collectives(module: Module, devices: int) -> tuple[Collective, ...]:
    """All exchanges between devices, equal ones together, the largest total first.

    One that the compiler spreads over several instructions, so that computation goes on
    meanwhile, keeps its channel in all of them and counts once.
    """
    found: dict[tuple[str, str], Collective] = {}
    for name, count, _ in module.runs():
        for instruction in module.computations[name].values():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS:
                continue
            one = _collective(kind, name, instruction, module, count, devices)
            channel = _CHANNEL.search(instruction.attributes)
            key = (kind, channel[1] if channel else f"{name}/{instruction.name}")
            if one.group > 1 and (key not in found or found[key].count < count):
                found[key] = one
    return merged(found.values())


def merged(some: Iterable[Collective]) -> tuple[Collective, ...]:
    """Equal ones as one."""
    together: dict[tuple[str, int, int], Collective] = {}
    for one in some:
        key = (one.kind, one.bytes, one.group)
        count = together[key].count if key in together else 0
        together[key] = replace(one, count=one.count + count)
    return tuple(sorted(together.values(), key=lambda c: -c.total_bytes))


def _collective(
    kind: str, place: str, instruction: Instruction, module: Module, count: int, devices: int
) -> Collective:
    inside = module.computations[place]
    given = sum(byte_count(inside[o].type) for o in instruction.operands if o in inside)
    group = group_size(instruction.attributes, devices)
    # TPUs reduce and scatter in a fusion of this name.
    kind = "reduce-scatter" if "all-reduce-scatter" in place else kind
    return Collective(
        kind=kind,
        bytes=given * group if kind == "all-gather" else given,
        group=group,
        count=count,
    )


def group_size(attributes: str, devices: int) -> int:
    """Devices of a group, in any of the ways in which they are written; all without a word."""
    if found := _MESH.search(attributes):
        sizes = {name: int(size) for name, size in _SIZE.findall(found[1])}
        return math.prod(int(part) if part else sizes[a] for a, part in _AXIS.findall(found[2]))
    if found := _IOTA.search(attributes):
        return int(found[2])
    if found := _LISTED.search(attributes):
        return len(found[1].split(","))
    return devices
