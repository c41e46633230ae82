"""The device mesh, and the one table from logical axis to mesh axis."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import (
    AbstractDevice,
    AbstractMesh,
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
)

from stepcoder_jax.config import ConfigError, MeshConfig

MESH_AXES = ("data", "fsdp", "tensor")

# Logical axis of an array -> mesh axes it is split over; None: replicated along that axis.
LOGICAL_TO_MESH: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "embed": "fsdp",
    "vocab": "tensor",
    "heads": "tensor",
    "kv_heads": "tensor",
    "mlp": "tensor",
    "head_dim": None,
    "layers": None,
    "length": None,
    "value": None,
}


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh over all devices; one device is a 1×1×1 mesh.

    Args:
      devices: those of a machine that is not here, to compile for it; None: all there are.

    Raises:
      ConfigError: the axis sizes do not multiply to the number of devices.
    """
    count = jax.device_count() if devices is None else len(devices)
    shape = mesh_shape(config, count)
    return jax.make_mesh(shape, MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def outline_mesh(config: MeshConfig, count: int, device: AbstractDevice) -> AbstractMesh:
    """As ``make_mesh``, of ``count`` devices that are only counted: nothing can be compiled for it.

    Raises:
      ConfigError: as ``make_mesh``.
    """
    shape = mesh_shape(config, count)
    return AbstractMesh(shape, MESH_AXES, axis_types=(AxisType.Auto,) * 3, abstract_device=device)


def mesh_shape(config: MeshConfig, devices: int) -> tuple[int, ...]:
    """Devices along each of ``MESH_AXES``, out of so many.

    Raises:
      ConfigError: as ``make_mesh``.
    """
    sizes = [config.data, config.fsdp, config.tensor]
    known = int(np.prod([s for s in sizes if s != -1]))
    if sizes.count(-1) > 1 or known < 1 or devices % known:
        raise ConfigError(
            f"mesh = {dict(zip(MESH_AXES, sizes, strict=True))}: sizes must multiply to the"
            f" {devices} devices there are, with at most one -1"
        )
    shape = tuple(devices // known if s == -1 else s for s in sizes)
    if int(np.prod(shape)) != devices:
        raise ConfigError(
            f"mesh = {dict(zip(MESH_AXES, shape, strict=True))}: {int(np.prod(shape))} places for"
            f" {devices} devices; -1 takes what is left"
        )
    return shape


def partition_spec(axes: tuple[str | None, ...]) -> PartitionSpec:
    """Mesh axes of an array with these logical axes.

    Raises:
      ValueError: an unknown logical axis, or two that want the same mesh axis.
    """
    unknown = [a for a in axes if a is not None and a not in LOGICAL_TO_MESH]
    if unknown:
        raise ValueError(f"logical axes {unknown} of {axes}: known are {sorted(LOGICAL_TO_MESH)}")
    spec = [None if a is None else LOGICAL_TO_MESH[a] for a in axes]
    used = [m for entry in spec if entry for m in ((entry,) if isinstance(entry, str) else entry)]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {axes} map to {spec}: a mesh axis is wanted twice")
    return PartitionSpec(*spec)


def param_shardings(shapes: Any, axes: Any, mesh: Mesh | AbstractMesh) -> Any:
    """Where parameters lie on the mesh: a tree of ``NamedSharding``.

    Args:
      shapes: tree of arrays, or of their shapes.
      axes: the same tree, with a ``PartitionSpec`` of logical axis names in place of each array.
    """

    def sharding(x: Any, names: PartitionSpec) -> NamedSharding:
        return sharding_by(tuple(names), x, mesh)

    return jax.tree.map(sharding, shapes, axes)


def sharding_by(axes: tuple[str | None, ...], x: Any, mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Where an array (``x``, or its shape) with these logical axes lies on the mesh."""
    return NamedSharding(mesh, _fit(partition_spec(axes), x, mesh))


def row_sharding(x: Any, mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Where an array lies on the mesh that is split over rows (axis 0); ``x`` or its shape."""
    return sharding_by(("batch",), x, mesh)


def whole(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Of an array that lies whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def constrained(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
    """``x`` in a jitted function, laid on the current mesh (``jax.set_mesh``) by its logical axes.

    Axes that are not named, or that the mesh does not divide, are whole on every device. Without a
    mesh nothing is said.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    return jax.lax.with_sharding_constraint(x, _fit(partition_spec(axes), x, mesh))


def parts_of(axis: str) -> int:
    """Into how many parts the current mesh (``jax.set_mesh``) splits a logical axis; 1 without."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else parts_on(axis, mesh)


def parts_on(axis: str, mesh: Mesh | AbstractMesh) -> int:
    """Into how many parts a mesh splits a logical axis."""
    return _parts(LOGICAL_TO_MESH[axis], mesh)


def rounded_up(count: int, axis: str, mesh: Mesh | AbstractMesh | None = None) -> int:
    """So many entries of a logical axis, and as few more as make it split evenly over a mesh.

    Args:
      mesh: None: the current one; without any, nothing is split.
    """
    parts = parts_of(axis) if mesh is None else parts_on(axis, mesh)
    return -(-count // parts) * parts


def on_own_part(
    function: Callable[..., jax.Array],
    arrays: Sequence[jax.Array],
    *,
    axes: Sequence[tuple[str | None, ...]],
) -> jax.Array:
    """``function(*arrays)``, each device of the current mesh computing its own part of the result.

    For kernels that the compiler cannot split by itself. An axis that the mesh does not divide
    stays whole on every device.

    Args:
      function: treats the parts independently; its result has the shape of the first array.
      axes: logical axes of each array.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return function(*arrays)
    specs = tuple(_fit(partition_spec(a), x, mesh) for a, x in zip(axes, arrays, strict=True))
    # A Pallas kernel does not say over which mesh axes its result varies, so nothing can check it.
    split = jax.shard_map(function, in_specs=specs, out_specs=specs[0], check_vma=False)
    return split(*arrays)


def _fit(spec: PartitionSpec, x: Any, mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """Drops the split of an axis that the mesh does not divide (3 kv-heads over 2 devices)."""
    pairs = zip(np.shape(x), spec, strict=False)
    return PartitionSpec(*(e if size % _parts(e, mesh) == 0 else None for size, e in pairs))


def _parts(entry: str | tuple[str, ...] | None, mesh: Mesh | AbstractMesh) -> int:
    names = () if entry is None else (entry,) if isinstance(entry, str) else entry
    return int(np.prod([mesh.shape[n] for n in names]))
