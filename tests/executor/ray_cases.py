"""The Ray backend on a cluster of several nodes, all of them on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from stepcoder_executor import (
    ExecutorClient,
    ExecutorConfig,
    ExecutorDied,
    IoTests,
    Limits,
    Request,
    Result,
)
from stepcoder_executor.bench.workload import workload
from stepcoder_executor.ray_executor import RayExecutor
from stepcoder_executor.ray_node import RayNode

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")
placement = pytest.importorskip("ray.util.placement_group")

ECHO = IoTests(fn_name=None, inputs=("1\n",), outputs=("1\n",))
NODE = {"num_cpus": 2, "object_store_memory": 80 << 20}
# As quickly as a node that is only slow cannot be taken for a dead one.
NOTICE_A_DEATH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10_000,
    "health_check_failure_threshold": 3,
}
MAX_PENDING = 40
# Longer than the executor takes at most to give a silent node up, and than a start on busy CPUs.
PATIENT_S = 180.0

# Lambdas, as they travel by value: the nodes cannot import this file.
broker_pid = lambda broker: broker._client._process.pid
actor_pid = lambda broker: os.getpid()


def echo(name, wait_s=0.0):
    source = f"import time\ntime.sleep({wait_s})\nprint(input())"
    return Request(id=str(name), source=source, tests=ECHO)


def endless(name):
    return Request(id=str(name), source="while True: pass", tests=ECHO, limits=Limits(wall_s=600))


def until(condition):
    deadline = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two CPUs each."""
    head = NODE | {"include_dashboard": False, "_system_config": NOTICE_A_DEATH}
    started = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    started.add_node(**NODE)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def client(cluster):
    """A Ray executor with one slot on each node; it leaves nothing behind."""
    config = ExecutorConfig(slots=1, max_pending=MAX_PENDING)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with RayExecutor(config, cluster.address) as shared:
        assert signal.getsignal(signal.SIGTERM) == on_sigterm
        # It begins without a node that takes longer than ``wait_s`` to start.
        until(lambda: shared.n_slots == 2)
        yield shared
        brokers = [on_node(node, broker_pid) for node in shared._nodes.values()]
    assert not ray.is_initialized()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in brokers))


def on_node(node, function):
    """What ``function`` of the node's own ``NodeBroker`` gives there."""
    return ray.get(node.actor.__ray_call__.remote(function), timeout=PATIENT_S)


def check(results, n, before, client):
    """Each of ``n`` requests has one answer, and it was counted once."""
    assert sorted(int(result.id) for result in results) == list(range(n))
    assert {result.verdict for result in results} == {"passed"}
    assert client.metrics()["programs"] - before["programs"] == n
    assert client.metrics()["queue_depth"] == 0


def test_the_command_runs_on_a_cluster(cluster):
    fields = {"id": "a", "source": "print(input())", "tests": {"inputs": ["1"], "outputs": ["1"]}}
    line = json.dumps(fields)
    command = [sys.executable, "-m", "stepcoder_executor.cli", "run", "--backend", "ray"]
    done = subprocess.run(
        [*command, "--slots", "1", "--ray-address", cluster.address],
        input=line.encode() + b"\n{\n",
        capture_output=True,
        check=False,
        timeout=PATIENT_S,
    )
    assert done.returncode == 0, done.stderr
    verdicts = {line["id"]: line["verdict"] for line in map(json.loads, done.stdout.splitlines())}
    assert verdicts == {"a": "passed", None: "executor_error"}


def test_verdicts_are_those_of_the_local_client_and_come_from_every_node(client, monkeypatch):
    answered = Counter()
    absorb = RayNode.absorb

    def count(node, data):
        answers = absorb(node, data)
        answered[node.id] += len(answers)
        return answers

    monkeypatch.setattr(RayNode, "absorb", count)
    requests = workload(60)
    found = {result.id: outline(result) for result in client.run(requests)}
    with ExecutorClient(ExecutorConfig(slots=1)) as local:
        assert found == {result.id: outline(result) for result in local.run(requests)}
        assert client.isolation == local.isolation
    assert len(answered) == 2
    # Each was given as many as it takes ahead; which of them is faster, the machine decides.
    assert min(answered.values()) >= 4


def outline(result: Result):
    return result.verdict, [(test.verdict, test.detail) for test in result.tests], result.covered


def test_a_node_joins_and_dies_in_mid_batch(cluster, client):
    before = client.metrics()
    known = set(client._nodes)
    joined = cluster.add_node(**NODE)
    until(lambda: client.n_slots == 3)
    (dying,) = set(client._nodes) - known
    results = client.run([echo(k, 0.1) for k in range(40)])
    seen = [next(results) for _ in range(4)]
    held = set(client._nodes[dying].outstanding)
    cluster.remove_node(joined, allow_graceful=False)
    check(seen + list(results), 40, before, client)
    assert held
    until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
    until(lambda: set(client._nodes) == known)
    assert client.metrics()["nodes_lost"] == before["nodes_lost"] + 1


def test_a_broker_killed_in_mid_batch_is_replaced(client):
    before = client.metrics()
    results = client.run([echo(k, 0.05) for k in range(20)])
    seen = [next(results)]
    for node in client._nodes.values():
        os.kill(on_node(node, broker_pid), signal.SIGKILL)
    check(seen + list(results), 20, before, client)
    assert client.metrics()["broker_restarts"] == before["broker_restarts"] + 2
    assert client.metrics()["nodes_lost"] == before["nodes_lost"]


def test_a_request_whose_nodes_died_twice_is_given_up_and_the_nodes_come_back(client):
    future = client.submit(endless("a"))
    holder = lambda: next(iter(client._holder.values()), None)
    killed = None
    for _ in range(2):
        # The one that is dead holds it for a moment longer.
        until(lambda killed=killed: holder() not in (None, killed))
        killed = holder()
        os.kill(on_node(killed, actor_pid), signal.SIGKILL)
    with pytest.raises(ExecutorDied, match="the node ended twice"):
        future.result(timeout=PATIENT_S)
    until(lambda: client.n_slots == 2)
    assert client.submit(echo("b")).result(timeout=PATIENT_S).verdict == "passed"


def test_cancelling_frees_slots_and_room(client):
    futures = [client.submit(endless(k)) for k in range(MAX_PENDING)]
    late = []
    waiting = threading.Thread(target=lambda: late.append(client.submit(echo("late"))))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert client.metrics()["queue_depth"] == MAX_PENDING
    assert all(future.cancel() for future in futures)
    waiting.join(PATIENT_S)
    assert late[0].result(timeout=PATIENT_S).verdict == "passed"
    assert not any(node.outstanding for node in client._nodes.values())


def test_a_deadline_frees_the_slots(client):
    with pytest.raises(TimeoutError, match="8 programs unfinished"):
        list(client.run(map(endless, range(8)), timeout_s=0.5))
    assert client.submit(echo("a")).result(timeout=PATIENT_S).verdict == "passed"


def test_what_is_no_request_does_not_cost_a_node(client):
    before = client.metrics()
    odd = Request(id="odd", source="", tests=IoTests(fn_name="f", inputs=(), outputs=()))
    result = client.submit(odd).result(timeout=PATIENT_S)
    assert (result.verdict, "inputs" in result.detail) == ("executor_error", True)
    assert client.metrics()["nodes_lost"] == before["nodes_lost"]


def test_a_cluster_without_a_free_cpu_is_said_and_the_connection_left_open(client):
    group = placement.placement_group([{"CPU": 1}] * 2)
    ray.get(group.ready(), timeout=PATIENT_S)
    try:
        with pytest.raises(ExecutorDied, match=r"has a free CPU \(2 nodes, waited 0.2 s\)"):
            RayExecutor(wait_s=0.2)
    finally:
        placement.remove_placement_group(group)
    assert client.submit(echo("a")).result(timeout=PATIENT_S).verdict == "passed"
