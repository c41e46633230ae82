"""Checkpoints: bit-exact, atomic, and refused when they are another model's."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.checkpoint import CheckpointError, CheckpointStore
from stepcoder_jax.config import OptimizerConfig
from stepcoder_jax.optimizer import make_optimizer
from stepcoder_jax.types import TrainState


def state(seed: int, width: int = 4) -> TrainState:
    policy = {"layer": {"w": jax.random.normal(jax.random.key(seed), (3, width))}}
    critic = {"head": jnp.full((width,), 1 / 3)}
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3, decay="linear"), 10)
    _, opt = optimizer.update(policy, optimizer.init(policy), policy)
    return TrainState(
        step=jnp.int32(seed),
        policy=policy,
        critic=critic,
        policy_opt=opt,
        critic_opt=optimizer.init(critic),
        beta=jnp.float32(seed / 7),
    )


def assert_same(a: object, b: object) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_what_is_saved_comes_back_bit_for_bit_in_another_process(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    host = {"curriculum": {"pass_rate": [float(np.float32(0.1))]}}
    store.save(7, state(7), host)
    store.close()
    again = CheckpointStore(tmp_path, keep=2)
    restored = again.restore(state(0))
    assert (restored.step, restored.host) == (7, host)
    assert_same(restored.state, state(7))
    assert_same(again.restore_policy(state(0).policy), state(7).policy)
    again.close()


def test_the_newest_are_kept_and_a_step_is_saved_once(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2, 3, 3):
        store.save(step, state(step), {"step": step})
    store.wait()
    assert store.latest == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3"]
    store.close()


def test_a_save_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save(1, state(1), {})
    store.close()
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    again = CheckpointStore(tmp_path, keep=2)
    assert again.latest == 1
    again.close()


# What orbax began to read beside the broken file it leaves to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("part", ["_CHECKPOINT_METADATA", "state/_METADATA", "state/d"])
def test_a_damaged_checkpoint_is_named_with_the_one_to_fall_back_to(
    tmp_path: Path, part: str
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2):
        store.save(step, state(step), {"step": step})
    store.close()
    damaged = tmp_path / "2" / part
    for file in damaged.iterdir() if damaged.is_dir() else [damaged]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    again = CheckpointStore(tmp_path, keep=2)
    with pytest.raises(CheckpointError) as caught:
        again.restore(state(0))
    assert f"{tmp_path}/2 is damaged" in str(caught.value)
    assert f"Delete that folder to fall back to {tmp_path}/1" in str(caught.value)
    again.close()
    shutil.rmtree(tmp_path / "2")
    third = CheckpointStore(tmp_path, keep=2)
    assert third.restore(state(0)).step == 1
    third.close()


def test_another_models_checkpoint_is_refused_by_the_name_of_an_array(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, state(1), {})
    with pytest.raises(CheckpointError, match=r"'.*'\].*float32\[.*4\].*float32\[.*5\]"):
        store.restore(state(1, width=5))
    with pytest.raises(CheckpointError, match=r"'.*'\].*float32\[.*4\].*float32\[.*5\]"):
        store.restore_policy(state(1, width=5).policy)
    store.close()


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    assert store.latest is None
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        store.restore(state(0))
    store.close()
