"""A machine by its name: ``v5p:4x4x4`` is a chip and how many there are along each dimension."""

import math
import operator
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from itertools import combinations_with_replacement

import jax
from jax.errors import JaxRuntimeError
from jax.experimental.topologies import get_topology_desc
from jax.sharding import AbstractDevice

from stepcoder_jax.config import ConfigError
from stepcoder_jax.plan.chips import CHIPS, Chip


@dataclass(frozen=True, kw_only=True)
class Topology:
    """A slice of a TPU pod, or some GPUs.

    Attributes:
      devices: as JAX sees them; on some TPUs a chip is two devices.
      described: the devices, described by libtpu so that it can compile for them; None: no libtpu,
        or GPUs.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    devices: int
    described: Sequence[jax.Device] | None

    @property
    def chips(self) -> int:
        """How many accelerators."""
        return math.prod(self.shape)

    @property
    def device(self) -> Chip:
        """What one device can do: its share of a chip."""
        share = self.chips / self.devices
        chip = self.chip
        return replace(
            chip,
            flops_per_s=chip.flops_per_s * share,
            hbm_bytes=int(chip.hbm_bytes * share),
            hbm_bytes_per_s=chip.hbm_bytes_per_s * share,
            link_bytes_per_s=chip.link_bytes_per_s * share,
        )

    @property
    def abstract_device(self) -> AbstractDevice:
        """What JAX asks of a device before anything is compiled."""
        return AbstractDevice(self.chip.name, None, self.chip.platform)


# Without the last two libtpu complains at length that this is no TPU host; they change no plan.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}

# Devices of a chip, where it is not one: JAX takes each half of it for a device.
_HALVES = {"tpu7x": 2}
# What libtpu has to be told: on a v4 JAX takes both cores for one device.
_TOLD = {"v4": {"chip_config_name": "megacore"}}


def find_topology(name: str, *, compiles: bool = True) -> Topology:
    """Reads the name, and has libtpu describe its devices where it is installed.

    Args:
      compiles: whether the devices are to be compiled for, so that they need a description.

    Raises:
      ConfigError: a chip that is not in the table, or a shape that is none, that is larger than a
        pod or that libtpu refuses.
    """
    chip_name, colon, shape_text = name.partition(":")
    if chip_name not in CHIPS:
        raise ConfigError(
            f"--topology {name!r}: chip {chip_name!r} is unknown; there are {', '.join(CHIPS)}"
        )
    chip = CHIPS[chip_name]
    form = (
        f"CHIP:{'x'.join('N' * chip.dimensions)}, as {chip_name}:{'x'.join('2' * chip.dimensions)}"
    )
    parts = shape_text.split("x")
    if not colon or not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise ConfigError(f"--topology {name}: {shape_text!r} is no shape; the form is {form}")
    shape = tuple(map(int, parts))
    if len(shape) != chip.dimensions:
        raise ConfigError(
            f"--topology {name}: {len(shape)} dimensions, {chip_name} has {chip.dimensions}:"
            f" the form is {form}"
        )
    if chip.largest and any(map(operator.gt, sorted(shape), chip.largest)):
        largest = "x".join(map(str, chip.largest))
        raise ConfigError(
            f"--topology {name}: no slice of {chip_name} is larger than {largest}"
            f" ({math.prod(chip.largest)} chips), and a plan is of one slice"
        )
    can_describe = compiles and chip.platform == "tpu" and has_libtpu()
    described = _described(name) if can_describe else None
    expected = math.prod(shape) * _HALVES.get(chip_name, 1)
    return Topology(
        name=name,
        chip=chip,
        shape=shape,
        devices=expected if described is None else len(described),
        described=described,
    )


def has_libtpu() -> bool:
    """Whether the TPU compiler is installed: the [tpu] extra."""
    return find_spec("libtpu") is not None


def compiler_name() -> str:
    """What compiles for TPUs here, with its versions."""
    return f"libtpu {version('libtpu')}, jax {jax.__version__}"


def _described(name: str) -> Sequence[jax.Device]:
    # Else libtpu asks a metadata server, which only a TPU host has, and serves one process alone:
    # a plan takes no devices, so that it need not wait for what holds them.
    for variable, value in _ALONE.items():
        os.environ.setdefault(variable, value)
    try:
        told = _TOLD.get(name.partition(":")[0], {})
        return get_topology_desc(platform="tpu", topology_name=name, **told).devices
    except JaxRuntimeError as error:
        known = ", ".join(_known_like(name))
        others = f"; of this chip it knows {known} and others" if known else ""
        raise ConfigError(f"--topology {name}: libtpu refuses it: {error}{others}") from error


def _known_like(name: str) -> Iterator[str]:
    """Slices of powers of two of the same chip that libtpu describes."""
    chip, _, shape = name.partition(":")
    for sizes in combinations_with_replacement((1, 2, 4, 8, 16), len(shape.split("x"))):
        known = f"{chip}:{'x'.join(map(str, sizes))}"
        try:
            get_topology_desc(platform="tpu", topology_name=known)
        except JaxRuntimeError:
            continue
        yield known
