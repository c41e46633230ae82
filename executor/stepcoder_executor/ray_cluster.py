"""The connection to a Ray cluster: the only file that knows Ray's own interface."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from stepcoder_executor.executor import ExecutorDied

_KNOCK_S = 10.0


class RayCluster:
    """A cluster that is there already, and the actors that were started on it.

    Args:
        address: ``host:port`` of the cluster's head; ``auto``: what RAY_ADDRESS says, else the
            cluster that this machine belongs to. A connection that the process has is used.

    Raises:
        ExecutorDied: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
            from ray._private import state
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        except ModuleNotFoundError as error:
            hint = "pip install 'stepcoder-executor[ray]'"
            raise ExecutorDied(f"the ray backend lacks {error.name!r}: {hint}") from error
        self._ray: Any = ray
        self._state: Any = state
        self._on_node: Any = NodeAffinitySchedulingStrategy
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            self._connect(address)

    def free_cpus(self) -> dict[str, int]:
        """Whole CPUs that nobody has reserved, by the id of each node that is alive.

        Raises:
            ExecutorDied: the connection was closed meanwhile.
        """
        if not self._ray.is_initialized():
            raise ExecutorDied("the connection to the Ray cluster was closed by another")
        free = self._state.available_resources_per_node()
        alive = (node["NodeID"] for node in self._ray.nodes() if node["Alive"])
        return {node: int(free.get(node, {}).get("CPU", 0)) for node in alive}

    def start(self, kind: type, node: str, cpus: int) -> Any:
        """An actor of class ``kind`` that reserves ``cpus`` of ``node``, there or nowhere.

        The groups ``send`` and ``receive`` have a thread each, so that calls of one keep their
        order and do not wait for the other's.
        """
        options = {
            "num_cpus": cpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            "concurrency_groups": {"send": 1, "receive": 1},
            "scheduling_strategy": self._on_node(node, soft=False),
        }
        return self._ray.remote(**options)(kind).remote()

    def end(self, actor: Any) -> None:
        """Kill an actor; the broker that it started sees that and ends by itself."""
        if self._ray.is_initialized():
            self._ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """Let go of the connection, unless it was there before."""
        if self._is_ours:
            self._is_ours = False
            self._ray.shutdown()

    def _connect(self, address: str) -> None:
        if address == "auto":
            address = os.environ.get("RAY_ADDRESS") or address
        if address != "auto":
            _knock(address)
        # Ray takes SIGTERM over where it can; whoever runs programs keeps his own handler.
        is_main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM) if is_main else None
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ExecutorDied(f"no Ray cluster at {address!r}: {one_line(error)}") from error
        finally:
            if handler is not None:
                signal.signal(signal.SIGTERM, handler)


def _knock(address: str) -> None:
    """See whether anyone listens at ``host:port``: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        allowed = "'auto' or host:port of the head node"
        raise ExecutorDied(f"the Ray address is {address!r}; allowed: {allowed}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutorDied(f"no Ray cluster at {address!r}: {error}") from error


def call(
    actor: Any, name: str, *arguments: Any, group: str, then: Callable[[Future[Any]], None]
) -> None:
    """Call an actor's method; ``then`` gets the finished future, on a thread of Ray's."""
    method = getattr(actor, name).options(concurrency_group=group)
    method.remote(*arguments).future().add_done_callback(then)


def one_line(error: BaseException) -> str:
    """What went wrong, without the traceback of another process."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
