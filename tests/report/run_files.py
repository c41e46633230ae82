"""A small run directory for the report's tests."""

import json
from pathlib import Path

VERDICTS = {"passed": 0.5, "failed": 0.25, "timeout": 0.125, "compile_error": 0.125}


def sft_row(step):
    return {"phase": "sft", "step": step, "loss": 4.0 / step, "tokens_per_s": 1000.0}


def ppo_row(step):
    return {
        "phase": "ppo",
        "step": step,
        "reward_mean": -0.3,
        "pass_rate": 0.25,
        "stage0_pass_rate": None if step == 1 else 0.125,
        "stage0_reward_mean": None if step == 1 else -0.5,
        "stage_mean": 1.0,
        "stage_histogram": [step, 3, 1],
        "executed_fraction": 0.75,
        "kl": 0.01,
        "policy_loss": -0.1,
        "value_loss": 0.2,
        "entropy": 0.5,
        "clip_fraction": 0.02,
        "ratio_max": 1.5,
        "explained_variance": -0.25,
        "verdicts": VERDICTS,
        "response_tokens_mean": 40.0,
        "tokens_per_s": 2000.0,
        "seconds": {"rollout": 40.0, "execute": 2.0, "score": 4.0, "update": 30.0},
    }


def eval_row(label, problems, rate):
    return {
        "phase": "eval",
        "label": label,
        "set": problems,
        "problems": 200,
        "pass@1": rate,
        "by_difficulty": {"interview": {"pass@1": rate / 2, "problems": 50}},
        "verdicts": VERDICTS,
    }


def sample(step, **fields):
    return {
        "step": step,
        "problem_id": "sum/1",
        "question": "Add two numbers.",
        "prefix": "def f(a, b):\n",
        "response": "    return a + b\n",
        "verdict": "passed",
        "reward": 1.0,
        "stage": 1,
        "executed": [[0, 29]],
        **fields,
    }


METRICS = (
    *(sft_row(step) for step in (10, 20)),
    eval_row("after_sft", "heldout", 0.25),
    *(ppo_row(step) for step in (1, 2, 3)),
    eval_row("after_ppo", "heldout", 0.375),
)


def write_lines(path: Path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


SAMPLES = (sample(1), sample(2))


def write_run(path: Path, metrics=METRICS, samples=SAMPLES):
    path.mkdir()
    (path / "config.yaml").write_text("run_dir: runs/quickstart\n", encoding="utf-8")
    write_lines(path / "metrics.jsonl", metrics)
    write_lines(path / "samples.jsonl", samples)
    summary = {"pass@1_before": {"heldout": 0.25}, "pass@1_after": {"heldout": 0.375}}
    (path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return path
