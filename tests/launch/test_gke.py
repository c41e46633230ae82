"""The JobSet is valid by its published schema, says what was asked, and goes to kubectl whole."""

import json
import shlex
from pathlib import Path

import pytest
import yaml
from launch_scripts import CONFIG, ROOT

jsonschema = pytest.importorskip("jsonschema", reason="comes with ray, which Intel Macs lack")

SCRIPT = "gke/jobset.sh"
SCHEMA = json.loads((Path(__file__).parent / "jobset_v1alpha2.json").read_text())
NAME = ("--name", "run1")
V5E = ("--accelerator", "tpu-v5-lite-podslice", "--topology", "4x4")
REST = ("--image", "example.com/it:1", "--config", CONFIG, "--claim", "runs")


def shown(checkout, *arguments):
    """The manifest as Kubernetes would read it, valid."""
    result = checkout.run(SCRIPT, "show", *NAME, *arguments)
    assert result.returncode == 0, result.stderr
    manifest = yaml.safe_load(result.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(manifest)
    return manifest


def job_of(manifest):
    (slice_,) = manifest["spec"]["replicatedJobs"]
    return slice_["template"]["spec"]


def pod_of(manifest):
    return job_of(manifest)["template"]["spec"]


@pytest.mark.parametrize(
    ("accelerator", "topology", "hosts", "chips"),
    [
        ("tpu-v5-lite-podslice", "1x1", 1, 1),
        ("tpu-v5-lite-podslice", "2x4", 1, 8),
        ("tpu-v5-lite-podslice", "4x4", 4, 4),
        ("tpu-v6e-slice", "16x16", 64, 4),
        ("tpu-v5p-slice", "2x2x1", 1, 4),
        ("tpu-v4-podslice", "4x4x8", 32, 4),
    ],
)
def test_a_slice_has_a_pod_for_each_host(checkout, accelerator, topology, hosts, chips):
    manifest = shown(checkout, "--accelerator", accelerator, "--topology", topology, *REST)
    assert job_of(manifest)["parallelism"] == job_of(manifest)["completions"] == hosts
    pod = pod_of(manifest)
    assert pod["containers"][0]["resources"]["limits"]["google.com/tpu"] == str(chips)
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }


def test_spot_nodes_are_asked_for_and_tolerated(checkout):
    pod = pod_of(shown(checkout, *V5E, *REST, "--spot"))
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert "cloud.google.com/gke-spot" in {taint["key"] for taint in pod["tolerations"]}


def test_a_preemption_starts_all_hosts_again_and_does_not_count(checkout):
    manifest = shown(checkout, *V5E, *REST, "--max-restarts", "7")
    policy = manifest["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 7
    (rule,) = policy["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    (pods,) = job_of(manifest)["podFailurePolicy"]["rules"]
    assert pods["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert job_of(manifest)["backoffLimit"] == 0


def test_the_executor_has_a_cpu_and_memory_for_each_program(checkout):
    container = pod_of(shown(checkout, *V5E, *REST, "--slots", "96"))["containers"][0]
    assert container["resources"]["requests"] == {"cpu": "112", "memory": "112Gi"}
    words = shlex.split(container["args"][0])
    assert words[words.index("--executor.slots") + 1] == "96"
    assert words[words.index("--executor.isolation") + 1] == "required"


@pytest.mark.parametrize(
    "field", ["it's", 'a "b"', r"\n|&/", "${NAME}", "$(HOME) $$ $", "a: [b] # c"]
)
def test_a_field_reaches_the_trainer_as_it_is(checkout, field):
    container = pod_of(shown(checkout, *V5E, *REST, "--", "--prompt.stop", field))["containers"][0]
    assert container["command"] == ["sh", "-c"]
    # Kubernetes takes $(HOME) for a variable's value, and two dollar signs for one.
    assert "$(" not in container["args"][0].replace("$$", "")
    words = shlex.split(container["args"][0].replace("$$", "$"))
    assert words[:5] == ["exec", ".venv/bin/stepcoder", "train", "--config", CONFIG]
    assert words[5:7] == ["--distributed.auto", "true"]
    assert words[7:9] == ["--run_dir", "/mnt/stepcoder/runs/run1"]
    assert words[-2:] == ["--prompt.stop", field]


def test_the_schema_refuses_what_the_manifest_must_not_be(checkout):
    manifest = shown(checkout, *V5E, *REST)
    job_of(manifest)["parallelism"] = "4"
    with pytest.raises(jsonschema.ValidationError, match="'4'"):
        jsonschema.validate(manifest, SCHEMA)
    manifest = shown(checkout, *V5E, *REST)
    pod_of(manifest)["restartpolicy"] = "Never"
    with pytest.raises(jsonschema.ValidationError, match="restartpolicy"):
        jsonschema.validate(manifest, SCHEMA)


def test_the_plan_is_a_script_that_does_the_same(checkout):
    for command in ("kubectl", "mkdir"):
        checkout.fake(command)
    (checkout.root / ".cache").mkdir()
    arguments = ("submit", *NAME, *V5E, *REST, "--namespace", "mine")
    plan = checkout.run(SCRIPT, "--dry-run", *arguments)
    assert plan.returncode == 0, plan.stderr
    assert not checkout.log.exists()
    lines = plan.stdout.splitlines()
    start, end = lines.index("cat >.cache/run1.yaml <<'END'"), lines.index("END")
    assert checkout.run(SCRIPT, *arguments).returncode == 0
    assert checkout.done() == [shlex.split(line) for line in (lines[0], lines[-1])]
    assert lines[start + 1 : end] == (checkout.root / ".cache/run1.yaml").read_text().splitlines()
    assert shlex.split(lines[-1])[:3] == ["kubectl", "--namespace", "mine"]


def test_xpk_is_asked_for_the_same_slice(checkout):
    place = ("--cluster", "mine", "--zone", "us-east5-a", "--spot")
    slice_ = ("--accelerator", "tpu-v5p-slice", "--topology", "2x2x4")
    (xpk,) = checkout.planned(SCRIPT, "xpk", *NAME, *slice_, *REST, *place)
    assert xpk[:3] == ["xpk", "workload", "create"]
    assert xpk[xpk.index("--tpu-type") + 1] == "v5p-32"
    assert "--spot" in xpk
    words = shlex.split(xpk[xpk.index("--command") + 1])
    assert words[:3] == ["cd", "/stepcoder-jax", "&&"]
    assert words[-2:] == ["--executor.isolation", "required"]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("status", ["get", "pods"]),
        ("logs", ["logs", "--follow"]),
        ("delete", ["delete", "jobset", "run1"]),
    ],
)
def test_a_jobset_that_is_there_is_named_alone(checkout, action, words):
    planned = checkout.planned(SCRIPT, action, *NAME)
    assert set(words) <= set(planned[-1])
    assert "run1" in " ".join(planned[-1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", *V5E, *REST), ["--name"]),
        (("show", "--name", "a" * 29, *V5E, *REST), ["--name", "a" * 29, "28"]),
        (("show", *NAME, *V5E, *REST, "--topology", "2x2x4"), ["--topology", "2x2x4"]),
        (("show", *NAME, *V5E, *REST, "--topology", "3x3"), ["--topology", "9 chips"]),
        (("show", *NAME, *V5E, *REST, "--accelerator", "h100"), ["--accelerator", "h100"]),
        (("submit", *NAME, *V5E, "--config", CONFIG, "--claim", "runs"), ["--image"]),
        (("show", *NAME, *V5E, *REST, "--slots", "0"), ["--slots", "'0'"]),
        (("show", *NAME, *V5E, *REST, "--claim", "Runs"), ["--claim", "Runs"]),
        (("xpk", *NAME, *V5E, *REST), ["--cluster"]),
        (("create", *NAME), ["create", "submit"]),
        (("show", *NAME, *V5E, *REST, "--", "--seed", "1\n2"), ["more than one line"]),
    ],
)
def test_bad_usage_names_the_option_and_the_value(checkout, arguments, words):
    result = checkout.run(SCRIPT, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert all(word in result.stderr for word in words), result.stderr


def test_the_image_has_what_the_trainer_needs():
    dockerfile = (ROOT / "launch" / "gke" / "Dockerfile").read_text()
    for line in dockerfile.splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    assert "WORKDIR /stepcoder-jax" in dockerfile
