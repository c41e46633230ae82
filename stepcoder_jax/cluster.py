"""Becoming one of a run's processes, and ceasing to be one: ``jax.distributed``, with messages."""

import atexit
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from stepcoder_jax.config import ConfigError, DistributedConfig
from stepcoder_jax.last_word import LastWord
from stepcoder_jax.processes import ProcessError, share
from stepcoder_jax.roll_call import RollCall
from stepcoder_jax.stop import Interrupted

# Exit status of a process that failed, as the command line has it.
_FAILED, _BAD_USAGE = 1, 2
_PAUSE_S = 0.2


@contextmanager
def joined(config: DistributedConfig) -> Iterator[None]:
    """Makes this process one of those that the recipe names, if any, while the block runs.

    An error ends this process without waiting for the others, and they are told.

    Raises:
      ConfigError: nothing here says which processes there are.
      ProcessError: they did not come together in time, or one failed or was lost.
    """
    if config.coordinator is None and not config.auto:
        yield
        return
    _connect(config)
    roll_call = RollCall()
    try:
        yield
    except Interrupted:
        # All of them stop here.
        _part(roll_call)
        raise
    except BaseException as error:
        atexit.register(_leave, _BAD_USAGE if isinstance(error, ConfigError) else _FAILED)
        atexit.register(roll_call.take_leave)
        if isinstance(error, ProcessError):
            raise
        told = roll_call.end(error)
        if told is None:
            raise
        raise ProcessError(told) from error
    _part(roll_call)


def _connect(config: DistributedConfig) -> None:
    # A stop is agreed on in another way (``StopRequest``).
    jax.config.update("jax_enable_preemption_service", False)
    given: dict[str, Any] = {}
    if config.coordinator is not None:
        _await_coordinator(config)
        given = {
            "coordinator_address": config.coordinator,
            "num_processes": config.processes,
            "process_id": config.process,
            "cluster_detection_method": "deactivate",
        }
    # Where not all come, JAX ends those that are here.
    waiting = LastWord(_not_together(config))
    try:
        jax.distributed.initialize(
            **given,
            initialization_timeout=config.timeout_s,
            heartbeat_timeout_seconds=config.heartbeat_s,
        )
    except ValueError as error:
        raise ConfigError(
            "distributed.auto = true: neither Slurm, GKE, a TPU's metadata nor Open MPI says here"
            f" which processes there are ({error}): give distributed.coordinator, processes and"
            " process"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        atexit.register(_leave, _FAILED)
        first_line = str(error).strip().splitlines()[0]
        raise ProcessError(f"{_not_together(config)} ({first_line})") from error
    finally:
        waiting.spare()


def _not_together(config: DistributedConfig) -> str:
    own = "one of them" if config.process is None else f"process {config.process}"
    count = "all" if config.processes is None else f"all {config.processes}"
    return (
        "the processes of the run did not come together within distributed.timeout_s ="
        f" {config.timeout_s}; this is {own}. Are {count} of them running, with the same"
        " distributed.coordinator and number of processes?"
    )


def _await_coordinator(config: DistributedConfig) -> None:
    """Sees that somebody listens there: JAX itself would end the program where nobody does."""
    if config.process == 0 or config.coordinator is None:
        return
    host, _, port = config.coordinator.rpartition(":")
    deadline = time.monotonic() + config.timeout_s
    while True:
        left = deadline - time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(left, 0.1)).close()
        except OSError as error:
            if time.monotonic() >= deadline:
                raise ProcessError(
                    f"distributed.coordinator = {config.coordinator!r} cannot be reached within"
                    f" distributed.timeout_s = {config.timeout_s} ({error}): is process 0 running"
                    " there, and can this host reach that port?"
                ) from error
            time.sleep(_PAUSE_S)
        else:
            return


def _part(roll_call: RollCall) -> None:
    """Ends together: nobody waits at the end for one that still has something to write."""
    share(lambda: None)
    roll_call.dismiss()
    jax.distributed.shutdown()
    roll_call.wait_for_listener()


def _leave(status: int) -> None:
    """Ends this process at once: JAX would wait for the others, which wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
