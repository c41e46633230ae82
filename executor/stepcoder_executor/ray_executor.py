"""The executor of a Ray cluster: one broker on every node, work wherever there is room."""

import contextlib
import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.executor import MAX_TRIES, Executor, ExecutorDied, Pending
from stepcoder_executor.node_broker import NodeBroker, request_message
from stepcoder_executor.protocol import parse_result
from stepcoder_executor.ray_cluster import RayCluster, one_line
from stepcoder_executor.ray_node import RayNode

_LOOK_S = 0.5
_SILENT_S = 60.0
_LEFT_OUT_S = 60.0
_RUNGS = ("full", "landlock", "seccomp", "none")
_log = logging.getLogger(__name__)


class RayExecutor(Executor):
    """Runs requests on the nodes of a Ray cluster that have free CPUs.

    Each such node gets one actor with one broker. The actor reserves ``config.slots`` CPUs, or as
    many as are free when that is 0 or more than are free, and runs as many programs at a time. A
    node that comes later, or has CPUs free later, is taken in; of one that dies, what was
    outstanding is tried once more on another. Every node needs this package installed.

    Args:
        config: as for :class:`ExecutorClient`.
        address: ``host:port`` of the cluster's head; ``auto``: what RAY_ADDRESS says, else the
            cluster that this machine belongs to. A connection that the process has is used, and
            left open by ``close``.
        wait_s: seconds to wait for a node with a free CPU, at the start and when all have gone.

    Raises:
        ExecutorDied: Ray is not installed, there is no such cluster, none of its nodes has a
            free CPU, or none offers the isolation asked for.
    """

    def __init__(
        self, config: ExecutorConfig | None = None, address: str = "auto", wait_s: float = 10.0
    ) -> None:
        super().__init__(config or ExecutorConfig())
        self._wait_s = wait_s
        self._nodes: dict[str, RayNode] = {}
        self._queue: deque[int] = deque()
        self._holder: dict[int, RayNode] = {}
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._past_restarts: Counter[str] = Counter()
        self._nodes_lost = 0
        self._left_out: dict[str, tuple[float, str]] = {}
        self._next_look = 0.0
        self._began = self._last_node = time.monotonic()
        self._cluster = RayCluster(address)
        try:
            while not self._is_up():
                self._turn()
        except BaseException:
            self._let_go()
            raise
        self._thread = threading.Thread(target=self._serve, name="stepcoder-ray", daemon=True)
        self._thread.start()

    @property
    def n_slots(self) -> int:
        """How many programs can run at a time on the nodes that are there now."""
        return sum(node.slots for node in list(self._nodes.values()) if node.is_ready)

    def restarts(self) -> dict[str, float]:
        """Since the start ``slot_restarts``, ``broker_restarts``, ``nodes_lost``; now ``nodes``."""
        nodes = list(self._nodes.values())
        total = sum((Counter(node.restarts) for node in nodes), self._past_restarts)
        return {
            "slot_restarts": total["slot_restarts"],
            "broker_restarts": total["broker_restarts"],
            "nodes": sum(node.is_ready for node in nodes),
            "nodes_lost": self._nodes_lost,
        }

    def _encode(self, seq: int, fields: dict[str, Any]) -> bytes:
        return request_message(seq, fields)

    def _send(self, seq: int, entry: Pending) -> None:
        self._events.put(partial(self._queue.append, seq))

    def _withdraw(self, seq: int) -> None:
        self._events.put(partial(self._cancelled, seq))

    def _end(self) -> None:
        self._events.put(lambda: None)
        self._thread.join()
        self._let_go()

    def _let_go(self) -> None:
        for node in self._nodes.values():
            self._cluster.end(node.actor)
        self._nodes.clear()
        self._cluster.close()

    def _serve(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception as error:
            # Without this thread no future would ever be answered: they all say why.
            _log.exception("the Ray executor gives up")
            self._die(one_line(error))

    def _turn(self) -> None:
        """Look at the cluster now and then, take in what has happened, hand out the queue."""
        if time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + _LOOK_S
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=_LOOK_S)()
            while True:
                self._events.get_nowait()()
        self._hand_out()

    def _is_up(self) -> bool:
        """Whether the start is over: each node that was asked has answered, or has had its time."""
        if self._left_out and not self._nodes:
            raise ExecutorDied("; ".join(reason for _, reason in self._left_out.values()))
        ready = [node.is_ready for node in self._nodes.values()]
        return any(ready) and (all(ready) or time.monotonic() > self._began + self._wait_s)

    def _look(self) -> None:
        """Drop the nodes that have gone or say nothing, take in those that have CPUs free."""
        now = time.monotonic()
        free = self._cluster.free_cpus()
        for node in list(self._nodes.values()):
            if node.id not in free:
                self._lose(node, "it left the cluster")
            elif now - node.heard > _SILENT_S:
                self._lose(node, f"it was silent for {_SILENT_S:.0f} s")
        for node_id, cpus in free.items():
            until, _ = self._left_out.get(node_id, (now, ""))
            if cpus and node_id not in self._nodes and until <= now:
                self._take_in(node_id, min(cpus, self.config.slots or cpus))
        if self._nodes:
            self._last_node = now
        elif (self._pending or not self.isolation) and now > self._last_node + self._wait_s:
            counted = f"{len(free)} nodes, waited {self._wait_s:g} s"
            raise ExecutorDied(f"no node of the Ray cluster has a free CPU ({counted})")

    def _take_in(self, node_id: str, slots: int) -> None:
        actor = self._cluster.start(NodeBroker, node_id, slots)
        node = self._nodes[node_id] = RayNode(node_id, slots, actor, self._events.put)
        node.start(asdict(replace(self.config, slots=slots)), partial(self._joined, node))

    def _joined(self, node: RayNode, done: Future[Any]) -> None:
        error = done.exception()
        if error is not None:
            self._left_out[node.id] = (time.monotonic() + _LEFT_OUT_S, one_line(error))
        if not self._is_well(node, error):
            return
        node.is_ready, node.heard = True, time.monotonic()
        rung, steps = done.result()["isolation"], done.result()["steps"]
        if not self.isolation or _RUNGS.index(rung) > _RUNGS.index(self.isolation):
            self.isolation, self.isolation_steps = rung, steps
        node.poll(partial(self._received, node))

    def _sent(self, node: RayNode, done: Future[Any]) -> None:
        if self._is_well(node, done.exception()):
            node.sent()

    def _received(self, node: RayNode, done: Future[Any]) -> None:
        if not self._is_well(node, done.exception()):
            return
        answers = node.absorb(done.result())
        node.poll(partial(self._received, node))
        for answer in answers:
            seq = answer["seq"]
            if self._holder.pop(seq, None) is None:
                continue
            if "died" in answer:
                self._refuse(seq, answer["died"])
            else:
                self._deliver(seq, parse_result(answer["result"]))

    def _is_well(self, node: RayNode, error: BaseException | None) -> bool:
        """Whether what a node says still counts; one that failed is lost here."""
        if self._nodes.get(node.id) is not node:
            return False
        if error is not None:
            self._lose(node, one_line(error))
        return error is None

    def _lose(self, node: RayNode, reason: str) -> None:
        """Drop a node; what was outstanding there goes to another, once."""
        _log.warning("node %s is lost: %s", node.id, reason)
        del self._nodes[node.id]
        self._cluster.end(node.actor)
        self._nodes_lost += node.is_ready
        self._past_restarts.update(node.restarts)
        for seq in sorted(node.outstanding, reverse=True):
            del self._holder[seq]
            entry = self._pending.get(seq)
            if entry is not None and entry.tries >= MAX_TRIES:
                self._refuse(seq, f"the node ended twice ({reason})")
            else:
                self._queue.appendleft(seq)

    def _cancelled(self, seq: int) -> None:
        node = self._holder.pop(seq, None)
        if node is not None:
            node.withdraw(seq)

    def _hand_out(self) -> None:
        """Give each queued request to the node with the least load, as long as one has room."""
        while self._queue:
            roomy = [node for node in self._nodes.values() if node.has_room]
            if not roomy:
                break
            seq = self._queue.popleft()
            entry = self._pending.get(seq)
            if entry is not None:
                entry.tries += 1
                node = min(roomy, key=lambda node: node.load)
                self._holder[seq] = node
                node.give(seq, entry.message)
        for node in self._nodes.values():
            node.flush(partial(self._sent, node))
