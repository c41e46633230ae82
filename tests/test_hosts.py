"""A recipe run by several processes on this machine: as one runs it, and how they fail together."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

sys.path.insert(0, str(Path(__file__).parent / "executor"))
from losing_host import losing
from process_tree import descendants, gone
from stepcoder_executor import Executor
from test_train import log, recipe

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import encode_config, override
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.train import train

POD = Path(__file__).parent.parent / "launch" / "simulate_pod.py"
ITERATIONS = 3


def pod(
    folder: Path,
    *overrides: str,
    processes: int = 2,
    devices: int = 1,
    environment: Mapping[str, str] = {},
) -> subprocess.Popen[str]:
    """The recipe of ``test_train`` on so many processes; its run directory is ``folder``."""
    config = override(recipe(folder, iterations=ITERATIONS), overrides)
    path = folder.with_suffix(".yaml")
    path.write_text(encode_config(config))
    sizes = [f"--processes={processes}", f"--devices-per-process={devices}", "--grace-s=30"]
    return subprocess.Popen(
        [sys.executable, str(POD), *sizes, "--config", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


def said(run: subprocess.Popen[str], status: int = 0) -> str:
    """All that the processes say until they have ended, with this status."""
    out, _ = run.communicate(timeout=280)
    assert run.returncode == status, out
    return out


def assert_like(found: Any, expected: Any) -> None:
    """Equal, but for the rounding of float32."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, float):
            assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
        else:
            assert found[name] == value, name


def assert_same_curve(found: Path, expected: Path) -> None:
    for a, b in zip(log(found), log(expected), strict=True):
        assert_like(a, b)
    rows = [(path / "samples.jsonl").read_text().splitlines() for path in (found, expected)]
    for a, b in zip(*rows, strict=True):
        assert_like(json.loads(a), json.loads(b))
    left, right = (saved(path, like=expected) for path in (found, expected))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), left, right)


def saved(folder: Path, like: Path) -> dict[str, Any]:
    """Arrays and curriculum of the newest checkpoint, read as one process saved those of ``like``.

    Without knowing where it is to lie, nothing can be read of what other devices saved.
    """
    stores = [ocp.training.Checkpointer(path / "checkpoints" / "ppo") for path in (folder, like)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        shape = stores[1].load_checkpointables()["state"]
    step = stores[0].latest.step
    host = stores[0].checkpointables_metadata(step).custom_metadata["host"]
    state = stores[0].load_checkpointables(step, {"state": shape})["state"]
    for store in stores:
        store.close()
    return {"state": state, "curriculum": json.loads(host)["curriculum"]}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(recipe(folder, iterations=ITERATIONS), Display(), StopRequest())
    return folder


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    short = ["--sft.steps=0", "--data.evaluate={}"]
    train(
        override(recipe(tmp_path / "alone", iterations=ITERATIONS), short),
        Display(),
        StopRequest(),
    )
    out = said(pod(tmp_path / "run", *short))
    assert_same_curve(tmp_path / "run", tmp_path / "alone")
    # Only the first says how it gets on.
    assert f"[0] ppo {ITERATIONS}/{ITERATIONS}" in out
    assert "[1] ppo" not in out


def one_of_two(
    folder: Path,
    process: int,
    port: int,
    *overrides: str,
    program: Sequence[str] = ("-m", "stepcoder_jax.cli"),
) -> subprocess.Popen[str]:
    """A process of two, of which each is told something else, or is another ``program``."""
    config = override(recipe(folder, iterations=1), overrides)
    path = folder.with_name(f"{process}.yaml")
    path.write_text(encode_config(config))
    joins = {"coordinator": f"127.0.0.1:{port}", "processes": 2, "process": process}
    return subprocess.Popen(
        [sys.executable, *program, "train", "--config", str(path)]
        + [f"--distributed.{name}={value}" for name, value in joins.items()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_what_the_executor_of_one_host_loses_is_dropped_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, short = free_port(), ["--sft.steps=0", "--data.evaluate={}"]
    losing_host = [str(Path(__file__).parent / "losing_host.py")]
    both = [
        one_of_two(tmp_path / "run", 0, port, *short),
        # Rows are dealt out in turn: those that are lost are this one's.
        one_of_two(tmp_path / "run", 1, port, *short, program=losing_host),
    ]
    monkeypatch.setattr(Executor, "submit", losing(Executor.submit))
    train(override(recipe(tmp_path / "alone", iterations=1), short), Display(), StopRequest())
    for process in both:
        said(process)
    assert_same_curve(tmp_path / "run", tmp_path / "alone")
    assert log(tmp_path / "run")[-1]["dropped"] == 1


def test_processes_with_different_recipes_are_refused(tmp_path: Path) -> None:
    port, values = free_port(), (0.1, 0.2)
    both = [
        one_of_two(tmp_path / "run", process, port, f"--ppo.clip_ratio={value}")
        for process, value in enumerate(values)
    ]
    for process in both:
        out = said(process, status=2)
        assert "processes 0 and 1 differ in the recipe: ppo.clip_ratio = 0.1 and 0.2" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--distributed.process=1"], "only together with distributed.coordinator"),
        (["--distributed.coordinator=host:1"], "distributed.processes = None: how many"),
        (["--distributed={coordinator: host, processes: 2, process: 0}"], "HOST:PORT"),
        (["--distributed={coordinator: 'h:1', processes: 2, process: 2}"], "in 0 … 1"),
        (["--distributed={coordinator: 'h:1', processes: 1, process: 0, auto: true}"], "auto"),
        (["--distributed.timeout_s=0"], "distributed.timeout_s = 0: must be positive"),
    ],
)
def test_flags_that_name_no_process_are_refused(flags: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        override(RunConfig(), flags)


def test_a_coordinator_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    port = free_port()
    out = said(one_of_two(tmp_path / "run", 1, port, "--distributed.timeout_s=2"), status=1)
    assert f"distributed.coordinator = '127.0.0.1:{port}' cannot be reached" in out
    assert "Traceback" not in out


def test_a_process_that_never_comes_is_given_up(tmp_path: Path) -> None:
    run = one_of_two(tmp_path / "run", 0, free_port(), "--distributed.timeout_s=2")
    out, _ = run.communicate(timeout=280)
    assert run.returncode
    assert "did not come together within distributed.timeout_s = 2; this is process 0." in out
    assert "Are all 2 of them running" in out


JOINED = """
import os, signal, sys, time
from stepcoder_jax.cluster import joined
from stepcoder_jax.config import DistributedConfig
port, number, count = map(int, sys.argv[1:4])
with joined(DistributedConfig(coordinator=f"127.0.0.1:{port}", processes=count, process=number)):
    if sys.argv[4] == "killed" and number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(280 if sys.argv[4] == "killed" else 0)
"""


def joined_processes(count: int, how: str) -> list[subprocess.Popen[str]]:
    """Processes that are busy with something of their own while one is killed, or end at once."""
    port = free_port()
    return [
        subprocess.Popen(
            [sys.executable, "-c", JOINED, str(port), str(number), str(count), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]


def test_a_lost_process_is_named_whatever_the_others_do() -> None:
    runs = joined_processes(3, "killed")
    said(runs[1], status=-signal.SIGKILL)
    # JAX, whose heartbeat would notice later, ends them with another status.
    for run in (runs[0], runs[2]):
        assert "process 1 of the run was lost: it no longer answers" in said(run, status=1)


def test_processes_that_have_nothing_to_do_end_well() -> None:
    for run in joined_processes(2, "at once"):
        said(run, status=0)


@pytest.mark.slow
def test_a_reward_function_that_answers_otherwise_on_each_host_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own_reward.py").write_text(
        "import os\n\n\ndef by_host(outcome, reward):\n    return 1 / os.getpid()\n"
    )
    run = pod(
        tmp_path / "run",
        "--sft.steps=0",
        "--data.evaluate={}",
        "--reward.function=own_reward:by_host",
        environment={"PYTHONPATH": str(tmp_path)},
    )
    out = said(run, status=2)
    assert "processes 0 and 1 differ in the rollouts of iteration 1: scores = " in out
    assert "must answer alike on every host" in out


@pytest.mark.slow
def test_what_fails_in_one_process_is_said_by_all(tmp_path: Path) -> None:
    """A data set that lies on one host only."""
    (tmp_path / "0").mkdir()
    row = {"task_id": 601, "text": "Do it.", "code": "x = 1", "test_list": ["assert True"]}
    (tmp_path / "0" / "mbpp.jsonl").write_text(json.dumps(row | {"test_setup_code": ""}))
    port, data = free_port(), "--data.train=mbpp:train"
    first, second = (
        one_of_two(tmp_path / "run", i, port, data, f"--data.manual_dir={tmp_path / str(i)}")
        for i in range(2)
    )
    assert "process 1 failed: ProblemError: " in said(first, status=1)
    assert str(tmp_path / "1") in said(second, status=1)


def started(run: subprocess.Popen[str], folder: Path, iterations: int) -> dict[int, int]:
    """Process ids by number, once so many iterations are done."""
    assert run.stdout is not None
    pids = {}
    for line in run.stdout:
        if found := re.match(r"\[(\d+)\] pid (\d+)", line):
            pids[int(found[1])] = int(found[2])
            if len(pids) == 2:
                break
    metrics = folder / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count('"ppo"') < iterations:
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.05)
    return pids


@pytest.mark.slow
def test_a_pod_trains_as_one_process(alone: Path, tmp_path: Path) -> None:
    mesh = "--mesh={data: 2, fsdp: 2, tensor: 2}"
    said(pod(tmp_path / "run", mesh, processes=4, devices=2))
    assert_same_curve(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_others_and_the_run_can_be_taken_up(
    alone: Path, tmp_path: Path, victim: int
) -> None:
    run = pod(tmp_path / "run")
    pids = started(run, tmp_path / "run", 1)
    everything = [one for pid in pids.values() for one in (pid, *descendants(pid))]
    os.kill(pids[victim], signal.SIGKILL)
    out = said(run, status=1)
    assert "still runs" not in out
    assert f"process {victim} of the run was lost" in out
    assert gone(everything)
    said(pod(tmp_path / "run"))
    assert_same_curve(tmp_path / "run", alone)


@pytest.mark.slow
def test_a_stop_of_one_stops_all_and_one_process_goes_on(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = pod(folder, "--mesh.fsdp=2")
    pids = started(run, folder, 1)
    os.kill(pids[1], signal.SIGTERM)
    out = said(run, status=1)
    for process in pids:
        assert f"[{process}] stepcoder train: stopped by SIGTERM of process 1" in out
    assert len([row for row in log(folder) if row["phase"] == "ppo"]) < ITERATIONS
    train(recipe(folder, iterations=ITERATIONS), Display(), StopRequest())
    assert_same_curve(folder, alone)
