"""Saving and restoring a run: device arrays through orbax, the host's state as JSON beside them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from stepcoder_jax.roll_call import is_lost
from stepcoder_jax.types import Params, TrainState


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names its folder and what does not fit."""


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A checkpoint read back: the step it was saved at, device arrays, and the host's state."""

    step: int
    state: TrainState
    host: Mapping[str, Any]


class CheckpointStore:
    """The checkpoints of one phase of one run.

    Saves are atomic (a folder appears under its final name only when it is complete) and
    asynchronous: ``save`` returns when the arrays have been copied off the device.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        policy = ocp.training.preservation_policies.LatestN(keep)
        self._directory = directory.resolve()
        self._store = ocp.training.Checkpointer(
            self._directory, preservation_policy=policy, cleanup_tmp_directories=True
        )
        self._pending: Any = None

    def save(self, step: int, state: TrainState, host: Mapping[str, Any]) -> None:
        """Saves ``state`` and the JSON-able ``host`` under ``step``; a step already saved stays."""
        self.wait()
        if self.latest == step:
            return
        metadata = {"host": json.dumps(host), "shapes": _shapes(_plain(state))}
        self._pending = self._store.save_checkpointables_async(
            step, {"state": _plain(state)}, custom_metadata=metadata, force=True
        )

    def wait(self) -> None:
        """Blocks until the last save is on disk; its errors are raised here."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def folder(self, step: int) -> Path:
        """Where a step's checkpoint lies."""
        return self._directory / str(step)

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint; None without one."""
        newest = self._store.latest
        return None if newest is None else newest.step

    def restore(self, like: TrainState) -> Restored:
        """Reads the newest checkpoint into the shapes, dtypes and shardings of ``like``.

        Raises:
          CheckpointError: there is none, it cannot be read, or it belongs to another model.
        """
        step = self._require_latest()
        self.check(_plain(like))
        with self._reading(step):
            loaded = self._store.load_checkpointables(step, {"state": _plain(like)})
        return Restored(step=step, state=TrainState(**loaded["state"]), host=self.host())

    def host(self) -> dict[str, Any]:
        """The host's state in the newest checkpoint.

        Raises:
          CheckpointError: there is none, or it cannot be read.
        """
        return json.loads(self._metadata(self._require_latest())["host"])

    def check(self, fields: Mapping[str, Any]) -> None:
        """Compares the newest checkpoint's arrays with a state's fields; shapes are enough.

        Raises:
          CheckpointError: as ``restore``.
        """
        step = self._require_latest()
        saved = self._metadata(step)["shapes"]
        _check_shapes(saved, _shapes(fields), str(self.folder(step)))

    def restore_policy(self, like: Params) -> Params:
        """Reads the newest checkpoint's policy alone, into the shapes of ``like``.

        Raises:
          CheckpointError: as ``restore``.
        """
        step = self._require_latest()
        shapes = self._metadata(step)["shapes"]
        saved = {name: shape for name, shape in shapes.items() if name.startswith("['policy']")}
        _check_shapes(saved, _shapes({"policy": like}), str(self.folder(step)))
        context = ocp.Context()
        # A tree that names a part of what was saved reads that part alone.
        context.pytree.loading.partial_load = True
        with self._reading(step), context:
            loaded = self._store.load_checkpointables(step, {"state": {"policy": like}})
        return loaded["state"]["policy"]

    def close(self) -> None:
        """Finishes the pending save and releases the store."""
        self.wait()
        self._store.close()

    def _require_latest(self) -> int:
        self.wait()
        step = self.latest
        if step is None:
            raise CheckpointError(f"{self._directory} holds no checkpoint")
        return step

    def _metadata(self, step: int) -> dict[str, Any]:
        with self._reading(step):
            metadata = self._store.checkpointables_metadata(step).custom_metadata
        if not isinstance(metadata, dict) or {"host", "shapes"} - metadata.keys():
            raise self._unreadable(step, "its description is missing or not of this program")
        return metadata

    @contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Says which folder could not be read: what orbax raises does not."""
        try:
            yield
        except Exception as error:
            # Its handlers wrap what happened, often more than once.
            root: BaseException = error
            while cause := root.__cause__ or root.__context__:
                root = cause
            raise self._unreadable(step, " ".join(str(root).split())[:200]) from error

    def _unreadable(self, step: int, reason: str) -> CheckpointError:
        before = [c.step for c in self._store.checkpoints if c.step < step]
        remedy = f"fall back to {self.folder(max(before))}" if before else "begin the phase anew"
        return CheckpointError(
            f"{self.folder(step)} is damaged: {reason}. Delete that folder to {remedy}"
        )


@contextmanager
def open_store(directory: Path, *, keep: int) -> Iterator[CheckpointStore]:
    """A store that is closed behind the block, unless another process was lost.

    A pending save, which all processes write together, would wait for it.
    """
    store = CheckpointStore(directory, keep=keep)
    try:
        yield store
    except BaseException as error:
        if not is_lost(error):
            store.close()
        raise
    store.close()


def _plain(state: TrainState) -> dict[str, Any]:
    return {
        "step": state.step,
        "policy": state.policy,
        "critic": state.critic,
        "policy_opt": state.policy_opt,
        "critic_opt": state.critic_opt,
        "beta": state.beta,
    }


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): f"{x.dtype}{list(x.shape)}" for path, x in leaves}


def _check_shapes(saved: Mapping[str, str], wanted: Mapping[str, str], where: str) -> None:
    differing = [n for n in {**saved, **wanted} if saved.get(n) != wanted.get(n)]
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{where} is another model's: {name} is {saved.get(name, 'missing')} there and"
            f" {wanted.get(name, 'missing')} in this configuration ({len(differing)} differ)"
        )
