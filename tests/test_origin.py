"""Weights that were replaced under the path that a run began with."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import recipe
from test_trained import write_run

from stepcoder_jax.config import RunConfig
from stepcoder_jax.model.load import load_model, save_model
from stepcoder_jax.origin import keep_origin, origin_of, require_origin
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import override
from stepcoder_jax.run_dir import RunDir, RunDirError
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.train import train
from stepcoder_jax.trained import export_run


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
    with pytest.raises(RunDirError, match="began with other weights than"):
        train(longer, Display(), StopRequest())
    save_model(folder, model.config, model.params, model.tokenizer)
    train(longer, Display(), StopRequest())


def test_before_any_work_other_weights_may_come(tmp_path: Path) -> None:
    run = RunDir.open(RunConfig(run_dir=tmp_path))
    first, second = ({"w": jnp.full(3, value)} for value in (1.0, 2.0))
    for params in (first, second):
        keep_origin(run, "model", params)
        require_origin(run, "model", params)
    run.append("metrics", {"phase": "sft", "step": 1})
    keep_origin(run, "model", second)
    for check in (keep_origin, require_origin):
        with pytest.raises(RunDirError, match="began with other weights than model holds"):
            check(run, "model", first)
        # Weights that were made are made again.
        check(run, None, first)
    run.close()
