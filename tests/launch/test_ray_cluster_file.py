"""The cluster file is valid by the schema that Ray ships, and its script does what it plans."""

import importlib.util
import json
import shlex
from pathlib import Path

import pytest
import yaml
from launch_scripts import ROOT

jsonschema = pytest.importorskip("jsonschema", reason="comes with ray, which Intel Macs lack")

SCRIPT = "ray_executor.sh"
PLACE = ("--project", "my-project", "--zone", "us-central2-b")


@pytest.fixture(scope="module")
def schema():
    ray = importlib.util.find_spec("ray")
    if ray is None:
        pytest.skip("ray is not installed")
    return json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text())


def shown(checkout, *arguments):
    result = checkout.run(SCRIPT, "show", *PLACE, *arguments)
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)


def test_ray_takes_the_file(checkout, schema):
    cluster = shown(checkout, "--spot")
    jsonschema.validate(cluster, schema)
    assert cluster["head_node_type"] in cluster["available_node_types"]
    del cluster["available_node_types"]["node"]["resources"]
    with pytest.raises(jsonschema.ValidationError, match="resources"):
        jsonschema.validate(cluster, schema)


def test_programs_run_on_the_nodes_that_were_asked_for_and_nowhere_else(checkout):
    cluster = shown(checkout, "--nodes", "7", "--machine", "c3-highcpu-88")
    assert cluster["provider"]["region"] == "us-central2"
    head, node = (cluster["available_node_types"][kind] for kind in ("head", "node"))
    assert (node["min_workers"], node["max_workers"], cluster["max_workers"]) == (7, 7, 7)
    assert node["resources"] == {"CPU": 88}
    assert head["resources"] == {"CPU": 0}
    (start,) = (line for line in cluster["head_start_ray_commands"] if "start" in line)
    assert "--num-cpus=0" in start


@pytest.mark.parametrize("is_spot", [True, False])
def test_only_nodes_are_spot_machines(checkout, is_spot):
    kinds = shown(checkout, *["--spot"] * is_spot)["available_node_types"]
    assert ("scheduling" in kinds["node"]["node_config"]) is is_spot
    assert "scheduling" not in kinds["head"]["node_config"]


def test_the_nodes_have_the_trainers_ray(checkout):
    lock = (ROOT / "launch" / "requirements.lock").read_text()
    (version,) = (line.split()[0] for line in lock.splitlines() if line.startswith("ray=="))
    commands = " ".join(shown(checkout, "--python", "3.12")["setup_commands"])
    assert version.replace("ray", "ray[default]") in commands
    assert "--python 3.12 " in commands


def test_the_plan_is_a_script_that_does_the_same(checkout):
    for command in (".venv/bin/ray", "mkdir"):
        checkout.fake(command)
    (checkout.root / ".cache").mkdir()
    plan = checkout.run(SCRIPT, "up", "--dry-run", *PLACE)
    assert not checkout.log.exists()
    assert checkout.run(SCRIPT, "up", *PLACE).returncode == 0
    lines = plan.stdout.splitlines()
    file = ".cache/stepcoder-executor.yaml"
    start, end = lines.index(f"cat >{file} <<'END'"), lines.index("END")
    assert lines[start + 1 : end] == (checkout.root / file).read_text().splitlines()
    assert checkout.done() == [shlex.split(line) for line in (*lines[:start], *lines[end + 1 :])]
    assert [command[1] for command in checkout.done()[-2:]] == ["up", "get-head-ip"]


def test_a_trainers_machine_lends_no_cpu(checkout):
    (join,) = checkout.planned(SCRIPT, "join", "--head", "10.0.0.9")
    assert join == [".venv/bin/ray", "start", "--address", "10.0.0.9:6379", "--num-cpus", "0"]
    assert checkout.planned(SCRIPT, "leave") == [[".venv/bin/ray", "stop"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("up", "--zone", "us-central2-b"), ["--project"]),
        (("up", *PLACE, "--nodes", "none"), ["--nodes", "none"]),
        (("up", *PLACE, "--machine", "big"), ["--machine", "big"]),
        (("up", *PLACE, "--python", "3.11"), ["--python", "3.11"]),
        (("join", "--head", "10.0.0.9:6379"), ["--head", "10.0.0.9:6379"]),
        (("join",), ["--head"]),
        (("up", *PLACE, "--", "--seed", "1"), ["--seed 1"]),
    ],
)
def test_bad_usage_names_the_option_and_the_value(checkout, arguments, words):
    line = checkout.refusal(SCRIPT, *arguments)
    assert all(word in line for word in words), line
