"""A run with adapters through the command line: it resumes, is evaluated, reported and exported."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_train import RECIPE, StopAfter, arrays, assert_same_run

from stepcoder_jax import cli
from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.init import init_policy
from stepcoder_jax.model.load import ModelLoadError, load_model, save_model
from stepcoder_jax.model.lora import init_adapters
from stepcoder_jax.model.tokenizer import train_tokenizer
from stepcoder_jax.model.weights import hf_tensors
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe import encode_config, override
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.stop import Interrupted
from stepcoder_jax.train import train
from stepcoder_jax.trained import export_adapters

LORA = ["--lora={rank: 2, alpha: 6.0, targets: [q_proj, o_proj, down_proj]}"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a made-up model, for runs to start from."""
    problems = builtin_problems("train", count=24)
    texts = [t for p in problems for t in (p.question, p.canonical_solution or "")]
    tokenizer = train_tokenizer(texts, 300)
    config = override(RunConfig(), RECIPE).model
    shape = replace(SHAPES[config.shape], vocab_size=config.vocab_size)
    folder = tmp_path_factory.mktemp("base")
    save_model(folder, shape, init_policy(jax.random.key(3), shape), tokenizer)
    return folder


def recipe(folder: Path, base: Path) -> RunConfig:
    start = RunConfig(run_dir=folder, iterations=2)
    return override(start, [*RECIPE, f"--model.path={base}", *LORA])


def train_by_command(config: RunConfig, where: Path) -> int:
    file = where / "recipe.yaml"
    file.write_text(encode_config(config))
    return cli.main(["train", "--config", str(file)])


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    config = recipe(folder / "run", base)
    assert train_by_command(config, folder) == 0
    return config.run_dir


def test_a_stopped_run_with_adapters_goes_on_bit_for_bit(
    whole: Path, base: Path, tmp_path: Path
) -> None:
    config = recipe(tmp_path / "run", base)
    # In SFT, then in a rollout of PPO.
    for looks in (3, 14):
        with pytest.raises(Interrupted):
            train(config, Display(), StopAfter(looks))
    assert train_by_command(config, tmp_path) == 0
    assert_same_run(whole, config.run_dir)


def test_checkpoints_hold_adapters_and_the_head_alone(whole: Path, base: Path) -> None:
    saved = arrays(whole)
    model = load_model(base).config
    adapters = init_adapters(jax.random.key(0), model, recipe(whole, base).lora)
    paths = jax.tree_util.tree_flatten_with_path(adapters)[0]
    names = {jax.tree_util.keystr(path) for path, _ in paths}
    of_policy = {name for name in saved if name.startswith("['policy']")}
    of_critic = {name for name in saved if name.startswith("['critic']")}
    assert of_policy == {f"['policy']{name}" for name in names}
    assert of_critic == {f"['critic']['backbone']{name}" for name in names} | {
        "['critic']['head']['kernel']"
    }
    assert all(np.any(saved[name]) for name in of_policy)


def test_such_a_run_is_evaluated_and_reported(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--count", "1", "--samples", "1", "--json", "--executor.slots=1"]
    problems = ["--problems", "builtin:heldout"]
    assert cli.main(["eval", "--model", str(whole), *problems, *options]) == 0
    assert "pass@1" in json.loads(capsys.readouterr().out.splitlines()[-1])
    assert cli.main(["report", str(whole)]) == 0
    for row in map(json.loads, (whole / "metrics.jsonl").read_text().splitlines()):
        if row["phase"] == "ppo":
            # The sampler's merged matrices and the learner's pairs are one policy.
            assert row["logprob_gap"] < 1e-4


def test_the_merged_export_is_the_base_plus_the_exported_adapter(
    whole: Path, base: Path, tmp_path: Path
) -> None:
    half = ["--adapter", "--dtype", "bfloat16"]
    for flags, name in (([], "merged"), (["--adapter"], "adapter"), (half, "half")):
        out = str(tmp_path / name)
        assert cli.main(["export", "--run", str(whole), "--out", out, *flags]) == 0
    start, merged = load_model(base), load_model(tmp_path / "merged")
    pairs = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    rounded = load_file(tmp_path / "half" / "adapter_model.safetensors")
    for name, tensor in pairs.items():
        np.testing.assert_array_equal(rounded[name], tensor.astype("bfloat16"), err_msg=name)
    peft = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert peft["base_model_name_or_path"] == str(base)
    before = dict(hf_tensors(start.config, start.params))
    for name, tensor in hf_tensors(merged.config, merged.params):
        module = f"base_model.model.{name.removesuffix('.weight')}"
        expected = before[name]
        if any(target in name for target in peft["target_modules"]):
            a, b = pairs[f"{module}.lora_A.weight"], pairs[f"{module}.lora_B.weight"]
            expected = expected + peft["lora_alpha"] / peft["r"] * b @ a
            assert not np.allclose(tensor, before[name], atol=1e-4)
        np.testing.assert_allclose(tensor, expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [(["--lora.rank=2"], "fresh weights"), ([], "lora.rank = 0")],
)
def test_a_run_without_an_adapter_to_give_says_why(
    tmp_path: Path, overrides: list[str], named: str
) -> None:
    with closing(RunDir.open(override(RunConfig(run_dir=tmp_path / "run"), overrides))):
        pass
    with pytest.raises(ModelLoadError, match=named):
        export_adapters(tmp_path / "run", tmp_path / "out")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["--lora.rank=-1"], r"lora\.rank = -1"),
        (["--lora.alpha=0"], r"lora\.alpha = 0"),
        (["--lora.targets=[q_proj, w_pack]"], r"lora\.targets = 'w_pack'.*down_proj"),
        (["--lora.targets=[]"], r"lora\.targets = \(\)"),
        (["--lora.targets=[q_proj, q_proj]"], r"each once"),
    ],
)
def test_values_that_mean_nothing_are_refused(overrides: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        override(RunConfig(), overrides)
