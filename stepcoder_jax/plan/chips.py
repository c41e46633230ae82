"""What an accelerator can do at most, as its makers say.

Sources. TPUs: the "System architecture" tables of Google Cloud's documentation, read in 2026
(docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e, /tpu7x); v4's links: arXiv 2304.01433,
table 4; pods have 4096, 256, 8960, 256 and 9216 chips. GPUs: NVIDIA's data sheets of A100, H100 SXM
and H200 SXM: bfloat16 on tensor cores without sparsity; links: NVLink.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One accelerator.

    Attributes:
      flops_per_s: of bfloat16 products, at most.
      hbm_bytes: memory.
      hbm_bytes_per_s: to and from it.
      link_bytes_per_s: in one direction, over all links to other chips together.
      dimensions: of the torus that they are links of; 1 for a switch.
      largest: a whole pod's shape, the shortest side first; empty where there is no such limit.
    """

    name: str
    platform: Literal["tpu", "gpu"]
    flops_per_s: float
    hbm_bytes: int
    hbm_bytes_per_s: float
    link_bytes_per_s: float
    dimensions: int
    largest: tuple[int, ...] = ()

    @property
    def axis_bytes_per_s(self) -> float:
        """What a ring along one dimension of the torus moves: its two links, both ways."""
        return self.link_bytes_per_s / self.dimensions


def _tpu(
    name: str, tflops: float, gib: int, gbps: float, ici: float, largest: tuple[int, ...]
) -> Chip:
    """``ici``: GB a second of a chip in both directions together, as the tables give it."""
    return Chip(
        name=name,
        platform="tpu",
        flops_per_s=tflops * 1e12,
        hbm_bytes=gib * GIB,
        hbm_bytes_per_s=gbps * 1e9,
        link_bytes_per_s=ici / 2 * 1e9,
        dimensions=len(largest),
        largest=largest,
    )


def _gpu(name: str, tflops: float, gb: int, gbps: float, nvlink: float) -> Chip:
    """``nvlink``: as ``ici`` of a TPU."""
    return Chip(
        name=name,
        platform="gpu",
        flops_per_s=tflops * 1e12,
        hbm_bytes=gb * 10**9,
        hbm_bytes_per_s=gbps * 1e9,
        link_bytes_per_s=nvlink / 2 * 1e9,
        dimensions=1,
    )


_ALL = (
    _tpu("v4", 275, 32, 1200, 600, (16, 16, 16)),
    _tpu("v5e", 197, 16, 819, 400, (16, 16)),
    _tpu("v5p", 459, 95, 2765, 1200, (16, 20, 28)),
    _tpu("v6e", 918, 32, 1640, 800, (16, 16)),
    _tpu("tpu7x", 2307, 192, 7380, 1200, (16, 24, 24)),
    _gpu("a100-40gb", 312, 40, 1555, 600),
    _gpu("a100-80gb", 312, 80, 2039, 600),
    _gpu("h100", 989, 80, 3350, 900),
    _gpu("h200", 989, 141, 4800, 900),
)

CHIPS: Mapping[str, Chip] = {chip.name: chip for chip in _ALL}
