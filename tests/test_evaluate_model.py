"""``stepcoder eval --model`` on a tiny model: figures, programs for others, and the record."""

import json
from pathlib import Path

import jax
import pytest
from cpp_compiler import compiled
from test_trained import write_run

from stepcoder_jax import cli
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.problems import problem_to_json
from stepcoder_jax.eval_record import file_hashes
from stepcoder_jax.model import product
from stepcoder_jax.model.few_rows import few_rows_product

FEW = ["--sampling.max_new_tokens=8", "--sampling.slots=4", "--rollout.prompt_buckets=[256]"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict, str]:
    status = cli.main(["eval", *arguments, "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if out else {}, err


def test_a_models_programs_are_judged_alike_when_they_come_back_as_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    rows = [problem_to_json(p) for p in builtin_problems("heldout", count=2)]
    broken = rows[0] | {"id": "broken", "canonical_solution": "x = ("}
    problems = tmp_path / "problems.jsonl"
    problems.write_text("\n".join(map(json.dumps, [*rows, broken])), encoding="utf-8")
    out, samples = tmp_path / "record.json", tmp_path / "samples.jsonl.gz"
    status, found, err = run(
        capsys, "--model", str(tmp_path / "run"), "--problems", str(problems), "--samples", "2",
        "--k", "1,2", "--out", str(out), "--save-samples", str(samples), *FEW,
    )  # fmt: skip
    assert status == 0
    assert (found["problems"], found["samples"]) == (2, 4)
    assert set(found["ci95"]) == {"pass@1", "pass@2"}
    assert list(found["preflight"]["failed"]) == ["broken"]
    assert "broken" in err
    assert "can have 264 tokens" in err
    assert "made for 128 (max_position_embeddings)" in err
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record.items() >= found.items()
    assert record["config"]["eval"]["samples"] == 2
    assert record["model_sha256"] == file_hashes(tmp_path / "run")
    assert record["model_sha256"]
    _, again, _ = run(
        capsys, "--samples-file", str(samples), "--problems", str(problems), "--k", "1,2"
    )
    same = ("pass@1", "pass@2", "ci95", "by_difficulty", "by_source", "verdicts", "preflight")
    assert {name: again[name] for name in same} == {name: found[name] for name in same}


def test_problems_that_do_not_fit_are_no_part_of_the_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    short, long = (problem_to_json(p) for p in builtin_problems("heldout", count=2))
    long["question"] += " and so on" * 100
    problems = tmp_path / "problems.jsonl"
    problems.write_text(f"{json.dumps(short)}\n{json.dumps(long)}\n", encoding="utf-8")
    arguments = ("--model", str(tmp_path / "run"), "--problems", str(problems), "--samples", "2")
    status, found, err = run(capsys, *arguments, *FEW, "--sampling.max_new_tokens=4")
    assert status == 0
    assert found["left_out"] == [long["id"]]
    assert "1 prompts longer than 256 tokens, not solved: " + long["id"] in err
    assert found["problems"] == 2
    assert "evaluate 2/2" in err


@compiled
@pytest.mark.parametrize("products", ["cpp", "xla"])
def test_what_multiplies_few_rows_is_what_the_recipe_says(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    products: str,
) -> None:
    calls = []

    def counted(kernel: jax.Array, rows: jax.Array) -> jax.Array:
        calls.append(rows.shape)
        return few_rows_product(kernel, rows)

    monkeypatch.setattr(product, "few_rows_product", counted)
    jax.clear_caches()  # what another test compiled is not traced again
    write_run(tmp_path / "run")
    status, found, err = run(
        capsys, "--model", str(tmp_path / "run"), "--problems", "builtin:heldout", "--count", "1",
        "--samples", "4", *FEW, f"--sampling.products={products}",
    )  # fmt: skip
    assert (status, found["samples"]) == (0, 4)
    is_kernel = products == "cpp"
    assert ("a kernel in C++ multiplies few rows (sampling.products: cpp)" in err) == is_kernel
    assert bool(calls) == is_kernel


def test_an_evaluation_draws_as_its_own_fields_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    arguments = ("--model", str(tmp_path / "run"), "--problems", "builtin:heldout", "--count", "1")
    hot = ("--eval.temperature=9", "--samples", "3", "--save-samples")

    def programs(name: str, *fields: str) -> set[str]:
        status, _, err = run(capsys, *arguments, *FEW, *hot, str(tmp_path / name), *fields)
        assert status == 0, err
        rows = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        assert len(rows) == 3
        return set(rows)

    assert len(programs("one.jsonl", "--eval.top_k=1")) == 1
    assert len(programs("any.jsonl", "--sampling.top_k=1")) == 3


def test_a_model_that_overflows_is_no_bad_programmer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run", final_scale=3e38)
    arguments = ("--model", str(tmp_path / "run"), "--problems", "builtin:heldout", "--count", "2")
    status, _, err = run(capsys, *arguments, *FEW)
    assert status == 1
    first = builtin_problems("heldout", count=1)[0].id
    assert f"of 2 of 2 responses are not finite, problem {first}'s first" in err


def test_extract_is_no_flag_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "--model", ".", "--problems", "p", "--extract")
    assert status == 2
    assert "prompt.extract" in err
