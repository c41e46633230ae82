"""A run's policy out again: exported without the weights that the run began with."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jax
import numpy as np
import pytest

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import RunConfig
from stepcoder_jax.model.decoder import Params
from stepcoder_jax.model.load import ModelLoadError, load_model
from stepcoder_jax.recipe import override
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sft import SFTStep, init_sft_state
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.starting_model import make_decoder, starting_model
from stepcoder_jax.trained import export_adapters, export_run, find_model

# As many words as the texts' tokenizer may have.
RECIPE = ["--model.shape=tiny-test", "--model.vocab_size=300"]


def write_run(folder: Path, final_scale: float = 1.0) -> Params:
    """Leave what SFT leaves, with a policy that the start is not."""
    config = override(RunConfig(run_dir=folder), RECIPE)
    with closing(RunDir.open(config)) as run:
        model = starting_model(
            config.model,
            mesh=make_mesh(config.mesh),
            texts=["def f(n):\n    return n"],
            tokenizer_dir=run.tokenizer,
            seed=0,
        )
        step = SFTStep(
            policy=make_decoder(config.model, model.config),
            optimizer=config.sft.optimizer,
            total_steps=1,
            logprob_chunk_tokens=config.model.logprob_chunk_tokens,
        )
        policy = dict(jax.tree.map(lambda x: x + 0.123, model.params))
        policy["final_norm"] = {"scale": policy["final_norm"]["scale"] * final_scale}
        with closing(CheckpointStore(run.checkpoints("sft"), keep=1)) as store:
            store.save(1, init_sft_state(step, policy), {"logs": {}})
    return policy


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    folder = tmp_path_factory.mktemp("run")
    return folder, write_run(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_exported_policy_is_the_run_s(
    run: tuple[Path, Params], tmp_path: Path, dtype: str
) -> None:
    folder, policy = run
    loaded = load_model(export_run(folder, tmp_path / "out", dtype))
    jax.tree.map(
        lambda x, y: np.testing.assert_array_equal(x, y.astype(dtype).astype("float32")),
        loaded.params,
        policy,
    )


@pytest.mark.parametrize("export", [export_run, export_adapters])
@pytest.mark.parametrize("out", ["notes", "notes/out"])
def test_a_file_where_the_folder_is_to_be_is_named(
    run: tuple[Path, Params], tmp_path: Path, export: Callable[[Path, Path], Path], out: str
) -> None:
    (tmp_path / "notes").touch()
    with pytest.raises(ModelLoadError, match=f"--out .*{out}: .*notes is a file; name a folder"):
        export(run[0], tmp_path / out)


def test_the_recipe_as_changed_decides_where_a_model_lies(
    run: tuple[Path, Params], tmp_path: Path
) -> None:
    folder, policy = run
    change = lambda config: override(config, ["--eval.samples=7"])
    of_run = find_model(folder, None, change)
    of_folder = find_model(export_run(folder, tmp_path / "out"), None, change)
    for found in (of_run, of_folder):
        assert found.config.eval.samples == 7
        jax.tree.map(np.testing.assert_array_equal, found.model.params, policy)
        shardings = {x.sharding.mesh for x in jax.tree.leaves(found.model.params)}
        assert shardings == {make_mesh(found.config.mesh)}
    assert of_run.config.model.shape == "tiny-test"
    assert of_folder.config.model.path == tmp_path / "out"


def test_a_run_without_a_checkpoint_says_so(run: tuple[Path, Params], tmp_path: Path) -> None:
    config = override(RunConfig(run_dir=tmp_path / "new"), RECIPE)
    with closing(RunDir.open(config)) as new:
        new.tokenizer.symlink_to(RunDir(run[0]).tokenizer.resolve())
    with pytest.raises(ModelLoadError, match="new has no checkpoint yet"):
        export_run(tmp_path / "new", tmp_path / "out")
