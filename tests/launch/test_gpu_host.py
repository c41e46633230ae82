"""gpu_host.sh: what it plans is what it does, and what cannot work is refused by name."""

import pytest
from launch_scripts import CONFIG, ROOT

SCRIPT = "gpu_host.sh"
DRIVER = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]


def with_driver(checkout, *versions):
    checkout.fake("nvidia-smi", "\n".join(f"print({version!r})" for version in versions))


def test_the_plan_checks_sets_up_checks_again_and_trains(checkout):
    driver, setup, install, jax, train = checkout.planned(SCRIPT, "--config", CONFIG)
    assert driver == DRIVER
    assert setup == ["sh", "launch/setup.sh"]
    assert install[1:3] == ["-m", "pip"]
    assert install[-1] == ".[cuda]"
    assert jax[-3].endswith("python")
    assert train == [
        "env",
        "JAX_PLATFORMS=cuda",
        "XLA_PYTHON_CLIENT_MEM_FRACTION=0.92",
        "XLA_PYTHON_CLIENT_PREALLOCATE=true",
        ".venv/bin/stepcoder",
        "train",
        "--config",
        CONFIG,
    ]


def test_what_is_done_is_what_was_planned(checkout):
    with_driver(checkout, "570.86", "570.86")
    arguments = ("--config", CONFIG, "--gpus", "2", "--mem-fraction", "0.5")
    fields = ("--", "--run_dir", "runs/it's here", "--prompt.stop", "[]")
    planned = checkout.planned(SCRIPT, *arguments, *fields)
    result = checkout.run(SCRIPT, *arguments, *fields)
    assert result.returncode == 0, result.stderr
    assert checkout.done() == planned
    assert planned[-1][-4:] == ["--run_dir", "runs/it's here", "--prompt.stop", "[]"]


def test_the_exit_status_is_the_trainers(checkout):
    with_driver(checkout, "570.86")
    checkout.fake(".venv/bin/stepcoder", "sys.exit(1)")
    assert checkout.run(SCRIPT, "--config", CONFIG).returncode == 1


def test_nothing_is_trained_where_jax_sees_no_gpu(checkout):
    with_driver(checkout, "570.86")
    checkout.fake(".venv/bin/python", "sys.exit('-c' in sys.argv)")
    assert checkout.run(SCRIPT, "--config", CONFIG).returncode == 1
    assert checkout.done()[-1][-2] == "-c"


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (None, ["nvidia-smi", "PATH"]),
        (["470.1"], ["470.1", "525"]),
        (["570.1"], ["--gpus", "2", "lists 1"]),
    ],
    ids=["no driver", "old driver", "too few"],
)
def test_a_host_that_cannot_do_is_said_before_the_set_up(checkout, versions, words):
    if versions:
        with_driver(checkout, *versions)
    gpus = "2" if versions == ["570.1"] else "1"
    result = checkout.run(SCRIPT, "--config", CONFIG, "--gpus", gpus)
    assert result.returncode == 1
    *_, line = result.stderr.splitlines()
    assert all(word in line for word in words), line
    assert not checkout.log.exists() or checkout.done() == [DRIVER]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "configs/none.yaml"),
        ("--gpus", "0"),
        ("--gpus", "2\n3"),
        ("--mem-fraction", "1.5"),
        ("--preallocate", "yes"),
        ("--memory",),
        ("train",),
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_with_the_name_and_the_value(checkout, arguments):
    config = () if "--config" in arguments else ("--config", CONFIG)
    result = checkout.run(SCRIPT, *config, *arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert all(word in result.stderr for word in arguments)
    assert not checkout.log.exists()


@pytest.mark.parametrize("arguments", [(), ("--config",), ("--config", CONFIG, "--gpus")])
def test_what_is_missing_is_named(checkout, arguments):
    assert (arguments[-1] if arguments else "--config") in checkout.refusal(SCRIPT, *arguments)


def test_help_is_the_head_of_the_script(checkout):
    text = checkout.run(SCRIPT, "--help").stdout
    head = (ROOT / "launch" / SCRIPT).read_text().split("\nset -eu")[0]
    assert text.splitlines() == [line[2:] for line in head.splitlines()[1:]]
