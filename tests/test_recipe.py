"""Recipes are read strictly, and every refusal names the field."""

from pathlib import Path

import pytest

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.recipe import encode_config, load_config, override

RECIPES = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_recipe_of_the_project_loads_and_says_what_it_is_for(path: Path) -> None:
    assert load_config(path).iterations > 0
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: {epochs: 3}\nseed: 5\n")
    config = load_config(path, ["--ppo.epochs", "4", "--curriculum.statements=[if, elif]"])
    assert (config.ppo.epochs, config.seed, config.ppo.clip_ratio) == (4, 5, 0.2)
    assert config.curriculum.statements == ("if", "elif")


def test_what_a_run_directory_keeps_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    config = override(RunConfig(), ["--model.path", "m.gguf", "--reward.clip", "0.8"])
    assert load_config(write(tmp_path, encode_config(config))) == config


@pytest.mark.parametrize(
    ("text", "overrides", "named"),
    [
        ("ppo: {epoch: 3}", [], ["ppo", "epoch"]),
        ("ppo: {epochs: many}", [], ["ppo.epochs", "many"]),
        ("kl: {estimator: k4}", [], ["kl.estimator", "k4"]),
        ("- a list", [], ["mapping", "list"]),
        ("a: [b", [], ["not YAML"]),
        ("seed: 1", ["--ppo.nope", "1"], ["ppo.nope", "epochs"]),
        ("seed: 1", ["--ppo.epochs"], ["--ppo.epochs", "missing"]),
        ("seed: 1", ["ppo.epochs", "1"], ["ppo.epochs"]),
        ("ppo: {minibatches: 7}", [], ["minibatches", "7", "512"]),
        ("rollout: {prompt_buckets: [64, 32]}", [], ["prompt_buckets", "64"]),
        ("rollout: {samples: 0}", [], ["samples", "0"]),
        ("sampling: {temperature: 0}", [], ["sampling.temperature", "0"]),
        ("eval: {top_p: 1.5}", [], ["eval.top_p", "1.5"]),
        ("eval: {k: [5]}", [], ["eval.k", "5", "samples"]),
        ("curriculum: {statements: [if, try]}", [], ["curriculum.statements", "try"]),
        ("curriculum: {alpha: 0}", [], ["curriculum.alpha", "0"]),
        ("kl: {where: loss}", [], ["kl.estimator", "k1"]),
        ("reward: {clip: -1}", [], ["reward.clip", "-1"]),
        ("iterations: -1", [], ["iterations", "-1"]),
        ("data: {difficulties: [easy]}", [], ["data.difficulties", "easy"]),
        ("ppo: {microbatches: 4}\ncritic: {steps: 3}", [], ["critic.steps", "3", "microbatches"]),
        ("curriculum: {fraction: 1}", [], ["curriculum.fraction", "1"]),
        ("curriculum: {mix: 1.5}", [], ["curriculum.mix", "1.5"]),
        ("ppo: {advantage: rloo}\nrollout: {samples: 1}", [], ["rollout.samples", "rloo"]),
        ("ppo: {advantage: grpo}\ncritic: {warmup_iterations: 2}", [], ["warmup_iterations", "2"]),
        ("ppo: {advantage: grpo}\ncritic: {backbone: shared}", [], ["critic.backbone", "grpo"]),
        (
            "critic: {backbone: shared, steps: 2}\nppo: {microbatches: 2}",
            [],
            ["critic.steps", "shared"],
        ),
        ("kl: {target: 0}", [], ["kl.target", "0"]),
        ("kl: {horizon: 0}", [], ["kl.horizon", "0"]),
        ("kl: {beta: -1}", [], ["kl.beta", "-1"]),
        ("ppo: {importance_cap: 0.5}", [], ["importance_cap", "0.5"]),
        ("ppo: {max_skipped: -1}", [], ["max_skipped", "-1"]),
        ("rollout: {staleness: 2}", [], ["staleness", "2"]),
        (
            "policy_optimizer: {name: momentum, second_moments: factored}",
            [],
            ["policy_optimizer.second_moments", "momentum"],
        ),
        ("model: {attention: flash}", [], ["model.attention", "flash"]),
        ("model: {attention: cudnn}", [], ["model.attention", "cudnn", "model.dtype = bfloat16"]),
        ("policy_optimizer: {name: sgd}", [], ["policy_optimizer.name", "sgd"]),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, text: str, overrides: list[str], named: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text), overrides)
    for part in named:
        assert part in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
