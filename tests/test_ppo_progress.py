"""What a resumed PPO phase begins from: its coefficient, and the weights it is measured against."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import recipe
from test_trained import write_run

from stepcoder_jax.checkpoint import CheckpointError
from stepcoder_jax.config import KLConfig
from stepcoder_jax.model.load import load_model, save_model
from stepcoder_jax.ppo_progress import beta_from_here, origin_of
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.train import train
from stepcoder_jax.trained import export_run


@pytest.mark.parametrize(
    ("kl", "first", "expected"),
    [
        (KLConfig(beta=0.25), 0.5, 0.25),
        (KLConfig(beta=0.5), 0.5, 0.5),
        (KLConfig(beta=0.5, controller="adaptive"), 0.5, 0.75),
        (KLConfig(beta=0.25, controller="adaptive"), 0.5, 0.25),
        # Saved before it was noted.
        (KLConfig(beta=0.5, controller="adaptive"), None, 0.75),
    ],
)
def test_a_coefficient_is_the_recipe_s_unless_the_controller_moved_it(
    kl: KLConfig, first: float | None, expected: float
) -> None:
    found = beta_from_here(kl, jnp.float32(0.75), first)
    assert found == expected
    assert found.dtype == jnp.float32


def test_weights_are_told_apart_by_every_bit() -> None:
    params = {"a": jnp.arange(6.0).reshape(2, 3), "b": {"c": jnp.ones(4, jnp.bfloat16)}}
    assert origin_of(params) == origin_of(jax.tree.map(jnp.copy, params))
    for value in (np.nextafter(np.float32(5), np.float32(6)), np.float32(-0.0)):
        other = params | {"a": params["a"].at[0, 0].set(value)}
        assert origin_of(other) != origin_of(params)
    assert origin_of({"b": params["b"], "d": params["a"]}) != origin_of(params)


def test_weights_that_were_replaced_in_their_place_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "start")
    folder = export_run(tmp_path / "start", tmp_path / "model")
    config = override(
        recipe(tmp_path / "run", iterations=1),
        [f"--model.path={folder}", "--sft.steps=0", "--data.evaluate={}"],
    )
    train(config, Display(), StopRequest())
    model = load_model(folder)
    changed = jax.tree.map(lambda x: x * 1.5, model.params)
    save_model(folder, model.config, changed, model.tokenizer)
    longer = replace(config, iterations=2)
    with pytest.raises(CheckpointError, match=r"began with other weights than model\.path"):
        train(longer, Display(), StopRequest())
    save_model(folder, model.config, model.params, model.tokenizer)
    train(longer, Display(), StopRequest())
