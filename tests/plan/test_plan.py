"""Plans by formula, bad input, and the command; compiled ones where libtpu is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jax.errors import JaxRuntimeError
from plan_recipes import recipe

from stepcoder_jax.cli import main
from stepcoder_jax.config import (
    ConfigError,
    LoRAConfig,
    MeshConfig,
    ModelSettings,
    PPOConfig,
    SFTConfig,
)
from stepcoder_jax.plan.chips import CHIPS
from stepcoder_jax.plan.collectives import Collective
from stepcoder_jax.plan.plan import make_plan, model_config
from stepcoder_jax.plan.programs import PROGRAMS
from stepcoder_jax.plan.report import plan_text
from stepcoder_jax.plan.roofline import roofline
from stepcoder_jax.plan.topology import find_topology
from stepcoder_jax.recipe import load_config
from stepcoder_jax.sharding import make_mesh

FOLDER = Path(__file__).parent
CONFIGS = FOLDER.parents[1] / "configs"

# Numbers of tiny-test: an embedding of 13 rows of 16; q and o of 4 heads of 4, k and v of 2; three
# matrices of the feed-forward, 32 wide; three norms.
MATRICES = 2 * 16 * 16 + 2 * 16 * 8 + 3 * 16 * 32
PARAMETERS = 13 * 16 + MATRICES + 3 * 16


def estimate(config=None, topology="v5e:1x1", **kwargs) -> dict:
    return make_plan(config or recipe(), topology, compiles=False, **kwargs)


def programs(plan: dict) -> dict[str, dict]:
    return {p["program"]: p for p in plan["programs"]}


def test_arguments_of_an_update_are_its_state_and_its_batch() -> None:
    plan = estimate()
    assert plan["parameters"] == PARAMETERS
    # Parameters and two moments of policy and critic, which has a head; two counts of Adam's and
    # two of the schedules', the step, beta.
    state = 4 * (3 * (PARAMETERS + PARAMETERS + 16) + 6)
    batch = 16 * 32 * (4 + 1 + 1 + 6 * 4)
    found = programs(plan)["update"]["argument_bytes"]
    assert abs(found - state - batch) <= 8
    assert programs(plan)["update"]["resident_bytes"] == 4 * PARAMETERS + batch


def test_a_run_that_fine_tunes_first_keeps_the_model_it_loaded() -> None:
    tuned = replace(recipe(), sft=SFTConfig(steps=1))
    more, less = (programs(estimate(c))["update"]["resident_bytes"] for c in (tuned, recipe()))
    assert more - less == 4 * PARAMETERS


def test_useful_operations_of_an_update() -> None:
    rows, length, response = 16, 32, 16
    layer = 2 * MATRICES + 4 * 16 * (length / 2)
    head = 2 * 16 * 13
    expected = 3 * rows * (2 * layer * length + head * response)
    assert programs(estimate())["update"]["model_flops"] == expected


def test_all_devices_together_are_asked_for_the_same_work() -> None:
    one, four = (programs(estimate(topology=name))["update"] for name in ("v5e:1x1", "v5e:2x2"))
    assert one["traced_flops"] == four["traced_flops"] == 4 * four["device_flops"]
    assert four["mfu"] <= four["model_flops"] / four["traced_flops"] <= 1


def test_kernels_of_a_machine_that_is_not_here() -> None:
    fused = replace(recipe(), model=replace(recipe().model, attention="splash"))
    assert {p["source"] for p in estimate(fused)["programs"]} == {"estimated"}
    with pytest.raises(ConfigError, match="needs a TPU"):
        estimate(fused, "h100:1")


def test_rows_that_a_mesh_does_not_divide_are_computed_on_all_devices() -> None:
    plan = estimate(topology="v5e:4x8")
    # Rows that are sampled are made more until they split.
    assert [p["repeated"] for p in plan["programs"]] == [1.0, 1.0, 32.0, 32.0]
    alone = programs(estimate())
    for name in ("prefill", "decode"):
        assert programs(plan)[name]["model_flops"] == alone[name]["model_flops"]
    said = [text for text in plan["suggestions"] if "on 32.0 devices" in text]
    assert len(said) == 2
    assert len([text for text in said if "data × mesh.fsdp = 16 and mesh.tensor = 2" in text]) == 2


def test_sampling_sends_what_split_layers_add_up_and_the_next_logits() -> None:
    def sent(**mesh: int) -> set[tuple[str, int, int, int]]:
        decode = programs(estimate(recipe(**mesh), "v5e:2x2"))["decode"]
        return {(c["kind"], c["bytes"], c["count"], c["group"]) for c in decode["collectives"]}

    slots, width, layers, vocabulary = 8, 16, 1, 13
    assert sent(data=2, fsdp=2) == set()
    assert sent(data=1, fsdp=2, tensor=2) == {
        ("all-reduce", 4 * slots // 2 * width, 2 * layers, 2),
        ("all-gather", 4 * slots // 2 * vocabulary, 1, 2),
    }


def test_a_gpu_that_is_not_here_is_planned_with_its_own_attention() -> None:
    def update(attention: str) -> dict:
        model = replace(recipe().model, attention=attention, dtype="bfloat16")
        return programs(estimate(replace(recipe(), model=model), "h100:1"))["update"]

    found, plain = update("cudnn"), update("xla")
    assert found["temporary_bytes"] < plain["temporary_bytes"]
    assert found["traced_flops"] == plain["traced_flops"]


def test_splitting_weights_splits_the_state() -> None:
    whole = programs(estimate(topology="v5e:2x2"))["update"]["argument_bytes"]
    split = programs(estimate(recipe(data=1, fsdp=4), "v5e:2x2"))["update"]["argument_bytes"]
    assert split < 0.3 * whole


def test_adapters_have_small_moments_and_a_frozen_model() -> None:
    lora = replace(recipe(), lora=LoRAConfig(rank=1), ppo=PPOConfig(microbatches=2))
    adapted, whole = (programs(estimate(c))["update"] for c in (lora, recipe()))
    assert adapted["argument_bytes"] < whole["argument_bytes"]
    assert adapted["model_flops"] == pytest.approx(whole["model_flops"] * 2 / 3)


@pytest.mark.parametrize("advantage", ["grpo", "rloo"])
def test_without_a_critic_half_the_state_is_gone(advantage) -> None:
    alone = replace(recipe(), ppo=PPOConfig(advantage=advantage))
    less, more = (programs(estimate(c))["update"]["output_bytes"] for c in (alone, recipe()))
    assert 0.45 * more < less < 0.55 * more


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_program_alone_is_estimated_for_the_chips_own_kernels(name: str) -> None:
    ours = recipe()
    splash = replace(ours, model=replace(ours.model, attention="splash", dtype="bfloat16"))
    (program,) = estimate(splash, "v5e:2x2", programs=(name,))["programs"]
    assert program["source"] == "estimated"


def test_what_does_not_fit_is_said_with_a_remedy() -> None:
    config = CONFIGS / "plan" / "deepseek_coder_6.7b.yaml"
    wide = load_config(config, ["--mesh.data", "4", "--model.remat", "none"])
    wide = replace(wide, model=replace(wide.model, path=CONFIGS / "models/deepseek-coder-6.7b"))
    plan = estimate(wide, "v5e:2x2", programs=("update",))
    assert not plan["fits"]
    assert any("mesh.fsdp = -1" in text for text in plan["suggestions"])
    assert any("model.remat" in text for text in plan["suggestions"])
    assert "DOES NOT FIT" in plan_text(plan)


def test_weights_that_are_too_large_to_generate_with_are_split_by_the_mesh_that_is_named() -> None:
    def of(*overrides: str) -> dict[str, Any]:
        file = CONFIGS / "plan" / "qwen2.5_coder_32b.yaml"
        config = load_config(file, overrides)
        folder = CONFIGS / "models/qwen2.5-coder-32b"
        config = replace(config, model=replace(config.model, path=folder))
        return estimate(config, "v6e:8x8", programs=("prefill", "decode"))

    plan = of()
    assert not plan["fits"]
    named = "take mesh.tensor = 4 and mesh.data × mesh.fsdp = 16: 15.3 GiB"
    assert named in plan["suggestions"][0]
    assert of("--mesh.fsdp=16", "--mesh.tensor=4")["fits"]


def test_a_bucket_that_no_row_needs_is_not_planned_for() -> None:
    config = recipe()
    rollout = replace(config.rollout, row_buckets=(8, 4096))
    changed = replace(config, rollout=rollout)
    assert changed.row_widths == (8, config.row_widths[-1])
    assert estimate(changed)["row_tokens"] == estimate(config)["row_tokens"]


def test_a_sweep_ranks_what_fits_by_time() -> None:
    trials = estimate(topology="v5e:1x2", programs=("update",), sweeps=True)["sweep"]
    assert {"data": 1, "fsdp": 1, "tensor": 2} in [t["mesh"] for t in trials]
    assert {t["microbatches"] for t in trials} >= {1, 2, 4}
    times = [t["update_s"] for t in trials if t["fits"]]
    assert times == sorted(times)


def test_the_slowest_of_three_bounds_a_step() -> None:
    chip = CHIPS["v5p"]
    ring = Collective(kind="all-reduce", bytes=4 * 10**9, group=4, count=2)
    times = roofline(chip, flops=459e12, moved_bytes=2765e9 / 2, exchanges=[ring])
    assert times.compute_s == pytest.approx(1.0)
    assert times.memory_s == pytest.approx(0.5)
    assert times.network_s == pytest.approx(2 * 2 * 3e9 / 200e9)
    assert (times.bound, times.least_s) == ("compute", times.compute_s)
    assert times.in_turn_s == pytest.approx(1.0 + 0.5 + 0.06)


def test_two_devices_share_a_chip() -> None:
    topology = find_topology("tpu7x:2x2x2", compiles=False)
    assert (topology.chips, topology.devices) == (8, 16)
    assert topology.device.hbm_bytes * 2 == topology.chip.hbm_bytes


@pytest.mark.parametrize(("name", "devices"), [("v4:2x2x2", 8), ("tpu7x:2x2x2", 16)])
def test_a_mesh_of_chips_with_two_cores(name: str, devices: int) -> None:
    assert find_topology(name, compiles=False).devices == devices
    pytest.importorskip("libtpu")
    topology = find_topology(name)
    assert topology.devices == devices
    assert make_mesh(MeshConfig(data=-1), topology.described).size == devices


def test_libtpu_does_not_complain_that_this_is_no_tpu() -> None:
    pytest.importorskip("libtpu")
    program = "from stepcoder_jax.plan.topology import find_topology; find_topology('v5p:2x2x1')"
    bare = {n: value for n, value in os.environ.items() if not n.startswith("TPU_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=bare | {"JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert not done.stderr


@pytest.mark.parametrize("name", ["v5e:32x8", "v6e:16x17", "v5p:4x4x29", "tpu7x:24x16x25"])
def test_a_slice_larger_than_a_pod_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"no slice of {name.partition(':')[0]} is larger than 16x"
    ):
        find_topology(name)


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v9:2x2", "chip 'v9' is unknown; there are v4, v5e, v5p"),
        ("", "--topology '': chip '' is unknown; there are v4, v5e, v5p"),
        ("v5e", "is no shape"),
        ("v5p:axb", "'axb' is no shape; the form is CHIP:NxNxN, as v5p:2x2x2"),
        ("v5e:0x2", "is no shape"),
        ("v5p:4x4", "2 dimensions, v5p has 3"),
    ],
)
def test_a_machine_that_does_not_exist(topology, message) -> None:
    with pytest.raises(ConfigError, match=message):
        estimate(topology=topology)


def test_a_slice_that_libtpu_refuses_comes_with_some_that_it_knows(monkeypatch) -> None:
    def describe(platform: str, topology_name: str) -> SimpleNamespace:
        _, _, shape = topology_name.partition(":")
        if shape not in ("2x2", "2x4"):
            raise JaxRuntimeError(f"{topology_name} is not divisible")
        return SimpleNamespace(devices=[None] * (4 if shape == "2x2" else 8))

    monkeypatch.setattr("stepcoder_jax.plan.topology.has_libtpu", lambda: True)
    monkeypatch.setattr("stepcoder_jax.plan.topology.get_topology_desc", describe)
    with pytest.raises(ConfigError, match="not divisible; of this chip it knows v5e:2x2, v5e:2x4"):
        find_topology("v5e:3x3")
    assert find_topology("v5e:2x4").devices == 8


def test_a_mesh_that_does_not_fit_the_machine() -> None:
    with pytest.raises(ConfigError, match="4 devices"):
        estimate(recipe(data=3), "v5e:2x2")


def test_a_model_without_a_config(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*config.json"):
        model_config(ModelSettings(path=tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"config.json"):
        model_config(ModelSettings(path=tmp_path))


@pytest.mark.parametrize("folder", sorted((CONFIGS / "models").iterdir()), ids=lambda f: f.name)
def test_the_models_of_the_plans_are_the_published_ones(folder) -> None:
    published = json.loads((FOLDER.parent / "fixtures/published_configs.json").read_text())
    alike = [name for name in published if name.lower().split("/")[1].startswith(folder.name)]
    assert alike
    sizes = [{**published[name]} for name in alike]
    mine = json.loads((folder / "config.json").read_text())
    assert any(mine.items() <= size.items() for size in sizes)


def test_the_command_prints_the_report_and_then_one_line_of_json(tmp_path, capsys) -> None:
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text("{iterations: 1, model: {shape: tiny-test}, rollout: {problems: 2}}")
    arguments = ["plan", "--config", str(recipe_file), "--topology", "h100:8", "--json"]
    assert main([*arguments, "--programs", "update", "--mesh.fsdp", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("h100:8: 8 chips, 8 devices, mesh data 4 × fsdp 2 × tensor 1")
    assert [p["source"] for p in json.loads(lines[-1])["programs"]] == ["estimated"]
    assert main([*arguments, "--programs", "update,nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def succeeds(*command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("mesh", ["4,1,1", pytest.param("1,4,1", marks=pytest.mark.slow)])
def test_a_plan_on_four_devices_is_what_the_trainer_does(mesh) -> None:
    flags = "--xla_force_host_platform_device_count=4"
    succeeds(str(FOLDER / "plan_on_four_devices.py"), mesh, XLA_FLAGS=flags)


@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is not installed: the [tpu] extra")
@pytest.mark.slow
def test_every_program_compiles_for_a_tpu_slice(tmp_path) -> None:
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(
        "{iterations: 1, model: {shape: tiny-test}, rollout: {problems: 4, samples: 4,"
        " prompt_buckets: [32]}, sampling: {max_new_tokens: 32, slots: 8}}"
    )
    arguments = ["--config", str(recipe_file), "--topology", "v5e:2x2", "--json"]
    out = succeeds("-m", "stepcoder_jax.cli", "plan", *arguments)
    plan = json.loads(out.splitlines()[-1])
    assert {p["source"] for p in plan["programs"]} == {"compiled"}
    update = programs(plan)["update"]
    assert plan["fits"]
    assert 0.9 < update["repeated"] < 1.1
    assert any(c["kind"] == "all-reduce" and c["group"] == 4 for c in update["collectives"])
