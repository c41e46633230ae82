r"""Runs a recipe as several processes on this machine: what a pod's hosts do, on CPU devices.

    python launch/simulate_pod.py --processes 4 --devices-per-process 2 \
        --config configs/quickstart.yaml --run_dir runs/pod --rollout.staleness 0

Every process is the real ``stepcoder train`` with its own executor; they speak to each other as
hosts do, over a socket. Ctrl-C and SIGTERM are handed to process 0, with which all of them stop.
When a process fails, the others are given time to notice, and are ended otherwise.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

FLAG = "--xla_force_host_platform_device_count"


def main() -> int:
    """Starts the processes and waits for them; the first failure is the exit status."""
    parser = argparse.ArgumentParser(
        description="Runs a recipe as several processes on this machine.",
        epilog="Everything else is handed to `stepcoder train`: --config F --any.field value",
        allow_abbrev=False,
    )
    parser.add_argument("--processes", type=int, default=4, help="hosts (default: %(default)s)")
    parser.add_argument(
        "--devices-per-process", type=int, default=2, help="of each host (default: %(default)s)"
    )
    parser.add_argument(
        "--grace-s",
        type=float,
        default=90.0,
        help="seconds that the others have to end once one has failed (default: %(default)s)",
    )
    options, recipe = parser.parse_known_args()
    if options.processes < 1 or options.devices_per_process < 1:
        parser.error("--processes and --devices-per-process: at least 1")
    started = start(options.processes, options.devices_per_process, recipe)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: started[0].send_signal(received))
    try:
        return wait(started, options.grace_s)
    finally:
        end(started)


def start(processes: int, devices: int, recipe: Sequence[str]) -> list[subprocess.Popen[str]]:
    """One ``stepcoder train`` a process, told where process 0 listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if not f.startswith(FLAG)]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": " ".join([*flags, f"{FLAG}={devices}"]),
    }
    started = []
    for process in range(processes):
        own = {"coordinator": f"127.0.0.1:{port}", "processes": processes, "process": process}
        joins = [f"--distributed.{name}={value}" for name, value in own.items()]
        one = subprocess.Popen(
            [sys.executable, "-m", "stepcoder_jax.cli", "train", *recipe, *joins],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            # Ctrl-C reaches this program alone, which hands it on.
            start_new_session=True,
        )
        assert one.stdout is not None
        threading.Thread(target=show, args=(process, one.stdout)).start()
        print(f"[{process}] pid {one.pid}", flush=True)
        started.append(one)
    return started


def show(process: int, lines: IO[str]) -> None:
    """Prints what a process says, behind its number."""
    for line in lines:
        print(f"[{process}] {line}", end="", flush=True)


def wait(started: Sequence[subprocess.Popen[str]], grace_s: float) -> int:
    """The status of the first process that failed, or 0 when all are done."""
    deadline, first = float("inf"), 0
    running = dict(enumerate(started))
    while running and time.monotonic() < deadline:
        time.sleep(0.05)
        for process, one in list(running.items()):
            status = one.poll()
            if status is None:
                continue
            del running[process]
            if status:
                print(f"[{process}] {how(status)}", flush=True)
                deadline = min(deadline, time.monotonic() + grace_s)
                first = first or status
    for process in running:
        print(f"[{process}] still runs {grace_s:g} s after another failed: ended", flush=True)
    return 1 if first < 0 else first


def how(status: int) -> str:
    """How a process ended that failed."""
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"


def end(started: Sequence[subprocess.Popen[str]]) -> None:
    """Leaves no process behind."""
    for one in started:
        if one.poll() is None:
            one.kill()
        one.wait()


if __name__ == "__main__":
    sys.exit(main())
