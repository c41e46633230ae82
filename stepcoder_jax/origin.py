"""The weights from disk that a run began with, told apart by their bits."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from stepcoder_jax.placement import fetch
from stepcoder_jax.run_dir import ORIGIN, RunDir, RunDirError
from stepcoder_jax.types import Params


def keep_origin(folder: RunDir, model: str | Path | None, params: Params) -> None:
    """Notes what a run begins with; later sees whether that is what still lies there.

    What was trained is measured against it, or added to it.

    Args:
      model: where the weights come from; None: they were made, and are made again.
      params: as they were loaded.

    Raises:
      RunDirError: the run has begun with other weights.
    """
    if model is None:
        return
    found = {"weights": origin_of(params)}
    known = folder.read_json(ORIGIN)
    if known is not None and known != found and folder.has_begun():
        raise RunDirError(
            f"run_dir = {str(folder.path)!r} began with other weights than {model} holds now: put"
            " those back, or give another run_dir"
        )
    if known != found:
        folder.write_json(ORIGIN, found)


def require_origin(folder: RunDir, model: str | Path | None, params: Params) -> None:
    """Sees whether weights are those that a run began with, as far as it has noted that.

    Raises:
      RunDirError: they are others.
    """
    known = folder.read_json(ORIGIN)
    if model is not None and known not in (None, {"weights": origin_of(params)}):
        raise RunDirError(
            f"{folder.path} began with other weights than {model} holds now, which its adapters do"
            " not fit: put those back"
        )


def origin_of(params: Params) -> str:
    """Stands for the bits of some weights, wherever on a mesh they lie."""
    sums = jax.tree_util.tree_flatten_with_path(fetch(_bit_sums(params)))[0]
    named = [[jax.tree_util.keystr(path), int(value)] for path, value in sums]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


@jax.jit
def _bit_sums(params: Params) -> Any:
    """Of each array the sum of its entries' bits, modulo 2³²: the same in every order."""

    def of(x: Array) -> Array:
        bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}"))
        return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)

    return jax.tree.map(of, params)
