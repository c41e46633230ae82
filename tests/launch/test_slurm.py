"""slurm.sbatch as Slurm runs it: a copy elsewhere, with Slurm's variables, beside a fake srun."""

import shutil
import signal
import subprocess
import time

import pytest
from launch_scripts import CONFIG

SCRIPT = "slurm.sbatch"
JOB = {
    "SLURM_JOB_ID": "42",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_CPUS_PER_TASK": "6",
}
# Ends as the trainer does: after SIGTERM it takes a while to save, and a second one is an accident.
WAITS = """
import signal, time
stops = []
signal.signal(signal.SIGTERM, lambda *_: stops.append(1))
open({ready!r}, "w").close()
end = time.monotonic() + 30
while not stops and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.3)
sys.exit({status} if len(stops) == 1 else 9)
"""


def submit(checkout, *arguments):
    """The script as a job: from a spool folder, started in the checkout."""
    spool = checkout.root.parent / "spool" / "slurm_script"
    spool.parent.mkdir()
    shutil.copy(checkout.root / "launch" / SCRIPT, spool)
    return subprocess.Popen(
        ["sh", str(spool), "--config", CONFIG, *arguments],
        env=checkout.environment(SLURM_SUBMIT_DIR=str(checkout.root), **JOB),
        cwd=checkout.root.parent,
        stderr=subprocess.DEVNULL,
    )


def test_what_is_done_is_what_was_planned(checkout):
    checkout.fake("srun")
    fields = ("--", "--seed", "1")
    planned = checkout.planned(SCRIPT, "--config", CONFIG, *fields, **JOB)
    assert submit(checkout, *fields).wait(30) == 0
    assert checkout.done() == planned
    srun = planned[-1]
    assert srun[srun.index("--cpus-per-task") + 1] == "6"
    trainer = [".venv/bin/stepcoder", "train", "--config", CONFIG, "--distributed.auto", "true"]
    assert srun[-8:] == [*trainer, "--seed", "1"]


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize(("status", "is_queued_again"), [(1, True), (0, False)])
def test_a_signal_reaches_the_step_once_and_the_job_is_queued_again(
    checkout, signals, status, is_queued_again
):
    ready = checkout.root.parent / "ready"
    checkout.fake("srun", WAITS.format(ready=str(ready), status=status))
    checkout.fake("scontrol")
    job = submit(checkout)
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline, "the step has not begun"
        time.sleep(0.01)
    for _ in range(signals):
        job.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    assert job.wait(30) == status
    queued = ["scontrol", "requeue", "42"]
    assert (checkout.done()[-1] == queued) is is_queued_again


def test_a_step_that_fails_is_not_queued_again(checkout):
    checkout.fake("srun", "sys.exit(3)")
    assert submit(checkout).wait(30) == 3
    assert checkout.done()[-1][0] == "srun"


@pytest.mark.parametrize(
    ("arguments", "job", "words"),
    [
        ((), JOB, ["--config"]),
        (("--config", CONFIG), {}, ["SLURM_JOB_ID", "sbatch"]),
        (
            ("--config", CONFIG),
            {**JOB, "SLURM_NTASKS_PER_NODE": "1"},
            ["--ntasks-per-node", "'1'", "4 GPUs"],
        ),
        (("--config", CONFIG, "--mem-fraction", "2"), JOB, ["--mem-fraction", "'2'"]),
        (("--config", CONFIG), {**JOB, "SLURM_SUBMIT_DIR": "/"}, ["'/'", "checkout"]),
    ],
)
def test_bad_usage_names_the_option_and_the_value(checkout, arguments, job, words):
    line = checkout.refusal(SCRIPT, *arguments, **job)
    assert all(word in line for word in words), line
