"""Recipes are read strictly, and every refusal names the field."""

from pathlib import Path

import pytest

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.recipe import encode_config, load_config, override
from stepcoder_jax.reward_function import resolve_reward

CONFIGS = Path(__file__).parent.parent / "configs"
RECIPES = sorted(CONFIGS.rglob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_recipe_of_the_project_loads_and_says_what_it_is_for(path: Path) -> None:
    config = load_config(path)
    assert config.iterations + config.sft.steps > 0
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert resolve_reward(config.reward, config.executor)


def test_no_two_recipes_write_to_the_same_place() -> None:
    places = [load_config(path).run_dir for path in RECIPES]
    assert len(set(places)) == len(places)


def variants(folder: str) -> dict[str, RunConfig]:
    return {path.stem: load_config(path) for path in (CONFIGS / folder).glob("*.yaml")}


def test_every_row_of_the_paper_can_be_run_on_the_quickstart_too() -> None:
    large, small = variants("paper"), variants("quickstart_variants")
    small["stepcoder"] = load_config(CONFIGS / "quickstart.yaml")
    assert large.keys() == small.keys()
    for name, config in large.items():
        # What makes the variant is the same in both; sizes and rates are not.
        other = small[name]
        assert config.reward.function == other.reward.function
        assert config.fgo.mask == other.fgo.mask
        assert config.curriculum.enabled == other.curriculum.enabled
        assert config.curriculum.start == other.curriculum.start
        assert config.ppo.advantage == other.ppo.advantage
        assert (config.iterations == 0) == (other.iterations == 0)


def test_a_recipe_over_a_base_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, "run_dir: a\nseed: 5\nppo: {epochs: 3, lam: 0.5}\n")
    (tmp_path / "deep" / "middle.yaml").write_text(
        "base: ../recipe.yaml\nrun_dir: b\nppo: {epochs: 4}\n"
        "data: {evaluate: {x: builtin:heldout}}\n"
    )
    leaf = tmp_path / "leaf.yaml"
    leaf.write_text(
        "base: deep/middle.yaml\nrun_dir: c\ncritic: {steps: 2}\nppo: {microbatches: 2}\n"
        "data: {evaluate: {y: builtin:train}}\n"
    )
    config = load_config(leaf, ["--ppo.clip_ratio", "0.1"])
    assert (config.run_dir, config.seed, config.critic.steps) == (Path("c"), 5, 2)
    ppo = config.ppo
    assert (ppo.epochs, ppo.lam, ppo.clip_ratio, ppo.microbatches) == (4, 0.5, 0.1, 2)
    # Names of the user's own are not fields: a dictionary is replaced.
    assert config.data.evaluate == {"y": "builtin:train"}


@pytest.mark.parametrize(
    ("base", "text", "named"),
    [
        ("", "base: other.yaml", ["recipe.yaml", "run_dir is missing"]),
        ("", "base: nowhere.yaml\nrun_dir: a", ["nowhere.yaml", "recipe.yaml has as its base"]),
        ("", "base: 3\nrun_dir: a", ["recipe.yaml", "base = 3"]),
        ("", "base: recipe.yaml\nrun_dir: a", ["recipe.yaml", "its own base"]),
        ("base: recipe.yaml\nrun_dir: b", "base: other.yaml\nrun_dir: a", ["its own base"]),
        ("", "base: other.yaml\nrun_dir: a\nppo: {epoch: 1}", ["recipe.yaml", "epoch"]),
        ("", "base: other.yaml\nrun_dir: a\nbases: 1", ["recipe.yaml", "bases"]),
        ("ppo: {epoch: 1}", "base: other.yaml\nrun_dir: a", ["other.yaml", "epoch"]),
        ("ppo: {epochs: 0}", "base: other.yaml\nrun_dir: a", ["other.yaml", "ppo.epochs"]),
        ("- a", "base: other.yaml\nrun_dir: a", ["other.yaml", "mapping"]),
        ("", "base: other.yaml\nrun_dir: a\nppo: 3", ["recipe.yaml", "ppo"]),
    ],
)
def test_a_base_that_cannot_be_used_is_refused_by_name(
    tmp_path: Path, base: str, text: str, named: list[str]
) -> None:
    (tmp_path / "other.yaml").write_text(base)
    with pytest.raises(ConfigError) as error:
        load_config(write(tmp_path, text))
    for part in named:
        assert part in str(error.value)


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: {epochs: 3}\nseed: 5\n")
    config = load_config(path, ["--ppo.epochs", "4", "--curriculum.statements=[if, elif]"])
    assert (config.ppo.epochs, config.seed, config.ppo.clip_ratio) == (4, 5, 0.2)
    assert config.curriculum.statements == ("if", "elif")


def test_without_a_critic_its_steps_need_not_divide_anything(tmp_path: Path) -> None:
    path = write(tmp_path, "ppo: {microbatches: 4, advantage: rloo}\ncritic: {steps: 3}")
    assert load_config(path).critic.steps == 3


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
        ("reward: {failed: .nan}", [], ["reward.failed", "nan"]),
        ("iterations: -1", [], ["iterations", "-1"]),
        ("data: {train_count: 0}", [], ["data.train_count = 0", "null"]),
        # Not all but the last three.
        ("data: {ppo_count: -3}", [], ["data.ppo_count = -3", "positive"]),
        ("data: {evaluate_count: 0}", [], ["data.evaluate_count = 0"]),
        ("data: {demonstrations_count: -1}", [], ["data.demonstrations_count = -1"]),
        ("data: {difficulties: [easy]}", [], ["data.difficulties", "easy"]),
        ("ppo: {microbatches: 4}\ncritic: {steps: 3}", [], ["critic.steps", "3", "microbatches"]),
        ("curriculum: {fraction: 1}", [], ["curriculum.fraction", "1"]),
        ("curriculum: {mix: 1.5}", [], ["curriculum.mix", "1.5"]),
        (
            "curriculum: {start: fixed_fraction, mix: 0.5}",
            [],
            ["curriculum.mix", "0.5", "fixed_fraction"],
        ),
        ("reward: {error_penalty: -1}", [], ["reward.error_penalty", "-1"]),
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
        # A text is not the list of its characters.
        ('prompt: {stop: "ab"}', [], ["prompt.stop", "'ab'", "a list", "[ab]"]),
        ("seed: 1", ["--rollout.prompt_buckets", "256"], ["prompt_buckets = 256", "[256]"]),
        ("seed: 1", ["--kl", "3"], ["kl = 3", "mapping"]),
        ("data: {evaluate: [a]}", [], ["data.evaluate", "['a']", "mapping"]),
        ("prompt: {stop: [a, '']}", [], ["prompt.stop = ('a', '')", "empty"]),
        ("ppo: {clip_ratio: .nan}", [], ["ppo.clip_ratio = nan", "number"]),
        ("seed: 5000000000", [], ["seed = 5000000000", "0 … 4294967295"]),
        ("seed: 1", ["--seed=-1"], ["seed = -1", "0 … 4294967295"]),
        ("seed: 1", ["--sampling.max_logprob_gap=nan"], ["sampling.max_logprob_gap = nan"]),
        ("seed: 1", ["--sampling.max_logprob_gap=-1"], ["max_logprob_gap = -1.0", "negative"]),
        ("seed: 1", ["--sampling.temperature=.inf"], ["sampling.temperature = inf", "finite"]),
        ("seed: 1", ["--eval.temperature=.inf"], ["eval.temperature = inf", "finite"]),
        ("seed:", [], ["seed = None", "left out"]),
        ("seed: 1", ["--eval.top_k=-1"], ["eval.top_k = -1", "negative"]),
        ("seed: 1", ["--sampling.top_k", "null"], ["sampling.top_k = None", "left out"]),
        ("seed: 1", ["--kl.beta.x", "3"], ["--kl.beta.x", "'kl.beta' has no fields"]),
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
