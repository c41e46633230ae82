"""Arrays of the host laid on the mesh, and fetched from it: by one process, or by all together."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from stepcoder_jax.config import ConfigError
from stepcoder_jax.sharding import param_shardings, row_sharding, whole


def shard_params(params: Any, axes: Any, mesh: Mesh) -> Any:
    """Places parameters on the mesh; ``axes`` as for ``param_shardings``."""
    return jax.tree.map(_put, params, param_shardings(params, axes, mesh))


def shard_rows(batch: Any, mesh: Mesh) -> Any:
    """Places a tree of arrays on the mesh, split over rows (axis 0)."""
    return jax.tree.map(lambda x: _put(x, row_sharding(x, mesh)), batch)


def place_own_rows(own: Any, rows: int, mesh: Mesh) -> Any:
    """Places a batch of ``rows`` rows, of which every process holds its even share (axis 0).

    The shares are in the order in which the mesh names the processes. With one process as
    ``shard_rows``.

    Raises:
      ConfigError: the mesh does not lay an even share of the rows on the devices of each process.
    """
    sharding = row_sharding(np.empty(rows), mesh)
    places = {index[0].indices(rows) for index in _own_places(sharding, rows)}
    held = sum(end - begin for begin, end, _ in places)
    if held * jax.process_count() != rows:
        raise ConfigError(
            f"mesh = {dict(mesh.shape)}: {rows} rows over {jax.process_count()} processes, and the"
            f" devices of one hold {held}: mesh.data × mesh.fsdp must divide the rows and be a"
            " multiple of the processes, and mesh.tensor stay inside each"
        )
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, x, (rows, *x.shape[1:])), own
    )


def _own_places(sharding: NamedSharding, rows: int) -> Sequence[tuple[slice, ...]]:
    places = sharding.addressable_devices_indices_map((rows,)).values()
    return [place for place in places if place is not None]


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Places a tree of arrays whole on every device."""
    return jax.tree.map(lambda x: _put(x, whole(mesh)), tree)


def spread(tree: Any, mesh: Mesh) -> Any:
    """Places those arrays of a tree whole on every device that are not on the mesh yet.

    With one process nothing is moved: its own programs do that by themselves.
    """
    if whole(mesh).is_fully_addressable:
        return tree
    return jax.tree.map(lambda x: _put(x, whole(mesh)) if x.is_fully_addressable else x, tree)


def fetch(tree: Any) -> Any:
    """Copies of arrays on the host, wherever on the mesh they lie; by all processes together."""

    def gathered(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return x
        assert isinstance(x.sharding, NamedSharding)
        return jax.device_put(x, whole(x.sharding.mesh))

    return jax.device_get(jax.tree.map(gathered, tree))


def _put(x: Any, sharding: NamedSharding) -> jax.Array:
    """Places an array that lies on the mesh already, or that every process holds all of."""
    if sharding.is_fully_addressable:
        return jax.device_put(x, sharding)
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put(jax.random.key_data(x), sharding))
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.device_put(x, sharding)
    # As ``device_put`` would, which makes the processes compare what they hold first.
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
