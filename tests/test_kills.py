"""Runs that are killed and stopped at random moments end as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_train import assert_same_run, recipe

from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import encode_config, override
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.train import train

ITERATIONS = 4
# A checkpoint at every other iteration: a kill leaves logs that are longer than the checkpoint.
SPARSE = ["--checkpoint={every: 2, sft_every: 3}", "--ppo={epochs: 2, minibatches: 2}"]
ADAPTERS = ["--lora={rank: 2, alpha: 8}"]
STALE = ["--rollout.staleness=1"]
VARIANTS = {
    "fresh": [],
    "stale": STALE,
    "adapters": ADAPTERS,
    "stale adapters": [*ADAPTERS, *STALE],
    "critic warm-up": ["--critic.warmup_iterations=2"],
    "skipped steps": [
        "--ppo.on_nonfinite=skip",
        "--ppo.max_skipped=99",
        # Rewards that a float cannot hold, as soon as the policy has moved.
        "--kl.beta=1e38",
    ],
    "adaptive KL": ["--kl={controller: adaptive, target: 0.1, horizon: 20}"],
    "grpo": ["--ppo.advantage=grpo", *STALE],
    "rloo": ["--ppo.advantage=rloo"],
    "shared critic": ["--critic.backbone=shared"],
    "mix": ["--curriculum.mix=0.5", *STALE],
    "weighting": ["--data.weighting=conditionals"],
    "factored moments": ["--policy_optimizer.second_moments=factored"],
}


class Killer:
    """A run of the command line, killed at random moments."""

    def __init__(self, folder: Path, overrides: list[str], seed: int) -> None:
        config = override(recipe(folder, iterations=ITERATIONS), overrides)
        self._recipe = folder.with_suffix(".yaml")
        self._recipe.write_text(encode_config(config))
        self._log, self._said = folder / "metrics.jsonl", folder.with_suffix(".said")
        self._summary = folder / "summary.json"
        self._rng = np.random.default_rng(seed)

    def start(self) -> subprocess.Popen[bytes]:
        """Begins or takes up the run; returns when it listens to signals."""
        command = [sys.executable, "-m", "stepcoder_jax.cli", "train", "--config"]
        with self._said.open("wb") as said:
            process = subprocess.Popen([*command, str(self._recipe)], stderr=said)
        while not self._said.read_bytes().startswith(b"run ") and process.poll() is None:
            time.sleep(0.02)
        return process

    def kill(self, number: signal.Signals, *, most_s: float) -> None:
        """Sends a signal a random time after the log has grown, or while that is awaited."""
        process, lines = self.start(), self._lines()
        deadline = time.monotonic() + self._rng.uniform(0, most_s)
        while self._lines() <= lines and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        time.sleep(self._rng.uniform(0, 1.5))
        process.send_signal(number)
        status, last = process.wait(timeout=300), self._said.read_text().splitlines()[-1]
        # A run that has ended listens to signals no more, while its process takes itself down.
        is_over = self._summary.exists() and status == -number
        if number is not signal.SIGKILL and status != 0 and not is_over:
            assert status == 1
            assert last.startswith(f"stepcoder train: stopped by {number.name}"), last

    def finish(self) -> None:
        """Takes up the run and lets it end."""
        status = self.start().wait(timeout=600)
        assert status == 0, self._said.read_text()

    def _lines(self) -> int:
        return self._log.read_bytes().count(b"\n") if self._log.exists() else 0


def whole(folder: Path, overrides: list[str]) -> Path:
    config = override(recipe(folder, iterations=ITERATIONS), overrides)
    train(config, Display(), StopRequest())
    return folder


def test_a_kill_and_a_stop_change_nothing(tmp_path: Path) -> None:
    overrides = [*SPARSE, *STALE]
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    killer = Killer(tmp_path / "killed", overrides, seed)
    for number in (signal.SIGKILL, signal.SIGTERM):
        killer.kill(number, most_s=20)
    killer.finish()
    assert_same_run(whole(tmp_path / "whole", overrides), tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_kills_and_stops_change_nothing(tmp_path: Path, variant: str) -> None:
    overrides = [*SPARSE, *VARIANTS[variant]]
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    killer = Killer(tmp_path / "killed", overrides, seed)
    for number in (*[signal.SIGKILL] * 3, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        killer.kill(number, most_s=10)
    killer.finish()
    assert_same_run(whole(tmp_path / "whole", overrides), tmp_path / "killed")
