"""gpu_measure.sh: what it plans is what it does, and one failure costs only its own line."""

import json
import shlex

import pytest
from launch_scripts import ROOT

from stepcoder_jax.cli import make_parser

SCRIPT = "gpu_measure.sh"
# Answers as `stepcoder bench --json` does: a JSON object on the last line.
ANSWER = 'print("text"); print(json.dumps({"asked": sys.argv[1:]}))'


def benches(commands: list[list[str]]) -> list[list[str]]:
    """Arguments of the calls of `stepcoder bench`."""
    return [c[c.index("bench") + 1 :] for c in commands if "bench" in c]


def test_what_is_done_is_what_was_planned(checkout):
    planned = checkout.planned(SCRIPT, "--runs", "3", "--out", "found/here.jsonl")
    checkout.fake(".venv/bin/stepcoder", ANSWER)
    result = checkout.run(SCRIPT, "--runs", "3", "--out", "found/here.jsonl")
    assert result.returncode == 0, result.stderr
    assert checkout.done() == planned
    lines = (checkout.root / "found" / "here.jsonl").read_text().splitlines()
    assert [json.loads(line)["asked"][1:] for line in lines] == benches(planned)


def test_every_work_is_one_that_the_benchmark_knows_and_asks_for_bfloat16_on_the_gpu(checkout):
    planned = checkout.planned(SCRIPT)
    for command in planned[2:]:
        assert command[:2] == ["env", "JAX_PLATFORMS=cuda"]
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
