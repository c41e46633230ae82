"""What the processes of a run tell each other. With one process everything here is its own affair.

All processes run the same program in the same order. Whatever one of them alone knows (a file, a
verdict, a signal) it shares before anything is decided by it, so that they never part. Every
function here is called by all of them together, in the same order.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from stepcoder_jax.config import ConfigError


class ProcessError(RuntimeError):
    """Another process of the run failed or was lost; the message says which, as far as is known."""


def is_first() -> bool:
    """Whether this process is the one that writes what there is to be once."""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Whether there is no other."""
    return jax.process_count() == 1


def is_own(number: int) -> bool:
    """Whether a piece of work is this process's: they are dealt out in turn."""
    return number % jax.process_count() == jax.process_index()


def share[T](produce: Callable[[], T]) -> list[T]:
    """What every process produces, in their order.

    Args:
      produce: makes what JSON can hold; with one process it is handed on as it is. May itself
        share.

    Raises:
      ProcessError: it failed in another process. Where it failed in this one, its own error is
        raised here, and the others are told.
    """
    if is_alone():
        return [produce()]
    try:
        own = {"made": produce()}
    except ProcessError:
        # The others have told this one, or are lost: nobody waits.
        raise
    except Exception as error:
        _exchange({"failed": f"{type(error).__name__}: {error}"})
        raise
    outcomes = _exchange(own)
    for process, outcome in enumerate(outcomes):
        if "failed" in outcome:
            raise ProcessError(f"process {process} failed: {outcome['failed']}")
    return [outcome["made"] for outcome in outcomes]


def together[T](work: Callable[[], T]) -> T:
    """What ``work`` makes here, once it is done in all processes; raises as ``share``."""
    done: list[T] = []
    share(lambda: done.append(work()))
    return done[0]


def from_first[T](produce: Callable[[], T]) -> T:
    """What the first process produces; the others do not. Otherwise as ``share``."""
    return share(lambda: [produce()] if is_first() else [])[0][0]


def agree(
    what: str,
    facts: Callable[[], Mapping[str, Any]],
    remedy: str = "Start every process with the same recipe, files and versions",
) -> None:
    """Sees whether all processes hold the same.

    Args:
      what: it is of, as the message says it.
      facts: makes name -> what JSON can hold; not called where there is one process.
      remedy: what the message says to do.

    Raises:
      ConfigError: they do not; the message names the processes and what differs.
    """
    if is_alone():
        return
    first, *others = share(lambda: dict(facts()))
    for process, theirs in enumerate(others, start=1):
        differing = [name for name in {**first, **theirs} if first.get(name) != theirs.get(name)]
        if differing:
            shown = "; ".join(
                f"{name} = {first.get(name)!r} and {theirs.get(name)!r}" for name in differing[:3]
            )
            raise ConfigError(
                f"processes 0 and {process} differ in {what}: {shown} ({len(differing)} in all)."
                f" {remedy}"
            )


def signals_everywhere(own: int) -> list[int]:
    """The signal that asks each process to stop, 0 for none."""
    return multihost_utils.process_allgather(np.int32(own)).ravel().tolist()


def _exchange(own: dict[str, Any]) -> list[dict[str, Any]]:
    content = np.frombuffer(json.dumps(own).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(content))).ravel()
    # Powers of two: few programs are compiled.
    padded = np.zeros(1 << int(lengths.max()).bit_length(), np.uint8)
    padded[: len(content)] = content
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]
