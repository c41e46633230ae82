"""How long a program takes at least: operations, memory and links, each at the chip's peak."""

from collections.abc import Sequence
from dataclasses import dataclass

from stepcoder_jax.plan.chips import Chip
from stepcoder_jax.plan.collectives import Collective


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Seconds of one call on one device, three times: each as if there were nothing else."""

    compute_s: float
    memory_s: float
    network_s: float

    @property
    def least_s(self) -> float:
        """With all three at the same time: no call can be faster."""
        return max(self.compute_s, self.memory_s, self.network_s)

    @property
    def in_turn_s(self) -> float:
        """With one after the other."""
        return self.compute_s + self.memory_s + self.network_s

    @property
    def bound(self) -> str:
        """Which of the three it waits for."""
        named = {
            "compute": self.compute_s,
            "memory": self.memory_s,
            "network": self.network_s,
        }
        return max(named, key=lambda name: named[name])


def roofline(
    device: Chip, *, flops: float, moved_bytes: float, exchanges: Sequence[Collective]
) -> Roofline:
    """From what one device computes, moves and exchanges in a call.

    Args:
      device: what one device can do: its share of a chip.
    """
    return Roofline(
        compute_s=flops / device.flops_per_s,
        memory_s=moved_bytes / device.hbm_bytes_per_s,
        network_s=sum(exchange.seconds(device) for exchange in exchanges),
    )
