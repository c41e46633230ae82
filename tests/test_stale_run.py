"""A run whose next batch is made while the last is trained on: fixed results, stopped or not."""

import json
from pathlib import Path

import pytest
from orbax.checkpoint import v1 as ocp
from test_train import StopAfter, assert_same_run, log, recipe

from stepcoder_jax.config import RunConfig
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.train import train

STALE = "--rollout.staleness=1"
# Looks for a stop: 4 in SFT, 6 in an evaluation, 8 in a batch made fresh, 1 at each later batch.
IN_THE_FIRST_BATCH, IN_THE_FIRST_AGAIN, BEFORE_A_STALE_BATCH = 15, 9, 2


def stale(folder: Path, *more: str) -> RunConfig:
    return override(recipe(folder, iterations=4), [STALE, "--checkpoint.every=3", *more])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stale")
    train(stale(folder), Display(), StopRequest())
    return folder


def host(folder: Path) -> dict:
    store = ocp.training.Checkpointer(folder / "checkpoints" / "ppo")
    metadata = store.checkpointables_metadata(store.latest.step).custom_metadata
    store.close()
    return json.loads(metadata["host"])


def test_stops_in_and_between_batches_change_nothing(whole: Path, tmp_path: Path) -> None:
    upcoming = []
    for looks in (IN_THE_FIRST_BATCH, IN_THE_FIRST_AGAIN, BEFORE_A_STALE_BATCH):
        with pytest.raises(Interrupted, match="SIGTERM"):
            train(stale(tmp_path), Display(), StopAfter(looks))
        upcoming.append((host(tmp_path)["upcoming"] or {}).get("iteration"))
    # Of three stops one came before the first update, two with a batch made and not trained on.
    assert upcoming == [None, 1, 2]
    train(stale(tmp_path), Display(), StopRequest())
    assert_same_run(whole, tmp_path)


def test_a_batch_comes_from_the_policy_before_the_last_update(whole: Path, tmp_path: Path) -> None:
    train(stale(tmp_path, "--policy_optimizer.learning_rate=0.1"), Display(), StopRequest())
    ours, theirs = (samples(folder) for folder in (whole, tmp_path))
    # The first update made no difference to the second batch, and one to the third.
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2]
    assert ours[3] != theirs[3]


def samples(folder: Path) -> dict[int, list[str]]:
    rows = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return {n: [row["response"] for row in rows if row["step"] == n] for n in (1, 2, 3, 4)}


def test_only_a_fresh_batch_must_agree_with_the_trainer(whole: Path) -> None:
    gaps = [row["logprob_gap"] for row in log(whole) if row["phase"] == "ppo"]
    assert gaps[0] < 1e-4
    assert min(gaps[1:]) > 1e-4


def test_another_recipe_makes_its_own_next_batch(tmp_path: Path) -> None:
    for looks in (IN_THE_FIRST_BATCH, IN_THE_FIRST_AGAIN):
        with pytest.raises(Interrupted):
            train(stale(tmp_path), Display(), StopAfter(looks))
    assert host(tmp_path)["upcoming"]["iteration"] == 1
    fresh = stale(tmp_path, "--rollout.staleness=0")
    train(fresh, Display(), StopRequest(), allow_changes=True)
    gaps = [row["logprob_gap"] for row in log(tmp_path) if row["phase"] == "ppo"]
    assert max(gaps) < 1e-4
    assert host(tmp_path)["upcoming"] is None
