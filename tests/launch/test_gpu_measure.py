"""gpu_measure.sh: what it plans is what it does, and one failure costs only its own line."""

import json
import shlex
import subprocess

import pytest
from launch_scripts import ROOT

from stepcoder_jax.cli import make_parser

SCRIPT = "gpu_measure.sh"
# Answers as `stepcoder bench --json` does: a JSON object on the last line.
ANSWER = 'print("text"); print(json.dumps({"asked": sys.argv[1:]}))'


def benches(commands: list[list[str]]) -> list[list[str]]:
    """Arguments of the calls of `stepcoder bench`."""
    return [c[c.index("bench") + 1 :] for c in commands if "bench" in c]


def test_the_plan_is_a_script_that_does_the_same(checkout):
    arguments = ("--runs", "3", "--out", "found it/here.jsonl")
    out = checkout.root / "found it" / "here.jsonl"
    planned = checkout.planned(SCRIPT, *arguments)
    plan = checkout.run(SCRIPT, "--dry-run", *arguments).stdout
    checkout.fake(".venv/bin/stepcoder", ANSWER)
    result = checkout.run(SCRIPT, *arguments)
    assert result.returncode == 0, result.stderr
    done, lines = checkout.done(), out.read_text().splitlines()
    assert [json.loads(line)["asked"][1:] for line in lines] == benches(planned)
    assert benches(done) == benches(planned)
    checkout.log.unlink()
    out.unlink()
    (checkout.root / "plan.sh").write_text(plan)
    subprocess.run(
        ["sh", "-eu", "plan.sh"], env=checkout.environment(), cwd=checkout.root, check=True
    )
    assert checkout.done() == done
    assert out.read_text().splitlines() == lines


def test_every_work_is_one_that_the_benchmark_knows_and_asks_for_bfloat16_on_the_gpu(checkout):
    planned = checkout.planned(SCRIPT)
    assert planned[2] == ["mkdir", "-p", "runs"]
    for command in planned[3:]:
        begin = command.index("env")
        assert command[begin : begin + 2] == ["env", "JAX_PLATFORMS=cuda"]
    parser = make_parser()
    asked = [parser.parse_args(["bench", *arguments]) for arguments in benches(planned)]
    assert {options.dtype for options in asked} == {"bfloat16"}
    assert {options.what for options in asked} == {"rollout", "update"}
    assert {"smollm2-135m", "small", "qwen2.5-coder-1.5b"} == {options.shape for options in asked}


def test_what_fails_is_said_and_the_rest_is_measured(checkout):
    checkout.fake(".venv/bin/stepcoder", f'"cudnn" in sys.argv and sys.exit(1)\n{ANSWER}')
    result = checkout.run(SCRIPT)
    assert result.returncode == 1
    assert "failed: " in result.stderr
    lines = (checkout.root / "runs" / "gpu_measure.jsonl").read_text().splitlines()
    assert 0 < len(lines) < len(benches(checkout.done()))
    assert all("cudnn" not in json.loads(line)["asked"] for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--runs", "0"),
        ("--out", ""),
        ("--out", "here/"),
        ("train",),
        ("--config", "x"),
        ("--", "x"),
    ],
    ids=shlex.join,
)
def test_bad_usage_is_one_line_with_the_name(checkout, arguments):
    assert arguments[0] in checkout.refusal(SCRIPT, *arguments)


def test_help_is_the_head_of_the_script(checkout):
    text = checkout.run(SCRIPT, "--help").stdout
    head = (ROOT / "launch" / SCRIPT).read_text().split("\nset -eu")[0]
    assert text.splitlines() == [line[2:] for line in head.splitlines()[1:]]
