"""Data sets as TFDS builders write them: what was read comes back, and only once written."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from data_sets import (
    APPS_FILES,
    APPS_PLUS_ROW,
    APPS_ROW,
    FUNCTIONAL_ROW,
    HUMANEVAL_ROW,
    LIVECODEBENCH_ROW,
    MBPP_ROW,
    SANITIZED_ROW,
)

from stepcoder_jax.data import builders, cache
from stepcoder_jax.data.builders import BUILDERS, from_example
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.cache import prepared
from stepcoder_jax.data.manual import MANUAL_SETS
from stepcoder_jax.data.problems import ProblemError, tidy
from stepcoder_jax.data.sources import load_problem_set, load_problems


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows).encode()


TEST_ROW = MBPP_ROW | {"task_id": 11}
PROBLEM_ROW = {
    "id": "mine/1",
    "question": "Ünïcode.",
    "difficulty": "interview",
    "starter_code": "",
    "canonical_solution": None,
    "tests": {"fn_name": "f", "inputs": [[1.5, None, {"a": [True]}]], "outputs": [10**30]},
    "source": "mine",
}
FILES = {
    "apps:train": ("apps/train/0007", None),
    "apps:test": ("apps/test.jsonl", lines(APPS_ROW)),
    "apps_plus:train": ("apps_plus/data.json", json.dumps([APPS_PLUS_ROW]).encode()),
    "mbpp:test": ("mbpp/mbpp.jsonl", lines(MBPP_ROW, TEST_ROW)),
    "mbpp:train": ("train.jsonl", lines(MBPP_ROW)),
    "mbpp_sanitized:train": ("mbpp/sanitized-mbpp.json", json.dumps([SANITIZED_ROW]).encode()),
    "humaneval": ("HumanEval.jsonl.gz", gzip.compress(lines(HUMANEVAL_ROW))),
    "livecodebench": ("livecodebench/test.jsonl", lines(LIVECODEBENCH_ROW)),
    "livecodebench:v2": ("livecodebench/test2.jsonl", lines(FUNCTIONAL_ROW)),
    "livecodebench:test": ("livecodebench.json", json.dumps([FUNCTIONAL_ROW]).encode()),
    "jsonl:mine": ("mine.jsonl", lines(PROBLEM_ROW)),
}


def put(manual_dir: Path, place: str, content: bytes | None) -> None:
    path = manual_dir / place
    if content is None:
        path.mkdir(parents=True)
        for name, text in APPS_FILES.items():
            (path / name).write_text(text, encoding="utf-8")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_a_name_gives_what_the_reader_gives(tmp_path, name):
    manual_dir = tmp_path / "manual"
    put(manual_dir, *FILES[name])
    kind, _, split = name.partition(":")
    manual = MANUAL_SETS[kind]
    split = split or manual.splits[0]
    read = list(manual.rows(split, manual.files(split, manual_dir)))
    kept = prepared(kind, split, manual_dir, tmp_path / "kept")
    assert list(kept.problems()) == read
    assert kept.rejected == ()
    loaded = load_problems(name, manual_dir=manual_dir, data_dir=tmp_path / "kept")
    assert loaded == [raw.problem for raw in read]
    assert len(loaded) == 1


def test_every_set_has_a_builder_of_its_name_and_says_which_file_to_put_where(tmp_path):
    assert set(BUILDERS) == {*MANUAL_SETS, "builtin"}
    for name, manual in MANUAL_SETS.items():
        split = manual.splits[0] if manual.splits else "mine"
        put_where = manual.put.split(" (")[0].replace(".", r"\.")
        with pytest.raises(ProblemError, match=rf"{name}:{split} needs --data\.manual_dir"):
            load_problems(f"{name}:{split}", data_dir=tmp_path)
        with pytest.raises(ProblemError, match="no such folder"):
            load_problems(f"{name}:{split}", manual_dir=tmp_path / "no", data_dir=tmp_path)
        with pytest.raises(ProblemError, match=f"is not in.*{put_where}"):
            load_problems(f"{name}:{split}", manual_dir=tmp_path, data_dir=tmp_path)
    with pytest.raises(ProblemError, match="mbpp has no split 'dev'; there are prompt, test"):
        load_problems("mbpp:dev", manual_dir=tmp_path, data_dir=tmp_path)


def test_a_set_is_written_once_and_again_when_its_file_changes(tmp_path, monkeypatch):
    options = {"manual_dir": tmp_path, "data_dir": tmp_path / "kept"}
    rows = [MBPP_ROW | {"task_id": task} for task in range(601, 801)]
    put(tmp_path, "mbpp.jsonl", lines(*rows))
    first = load_problems("mbpp:train", **options)
    assert [p.id for p in first] == [f"mbpp/{task}" for task in range(601, 801)]
    with monkeypatch.context() as patch:
        patch.setattr(builders, "_to_example", lambda raw: pytest.fail("written again"))
        assert load_problems("mbpp:train", **options) == first
        assert load_problems("mbpp:train", count=70, **options) == first[:70]
    put(tmp_path, "mbpp.jsonl", lines(*rows[:-1], rows[-1] | {"text": "Another."}))
    second = load_problems("mbpp:train", **options)
    assert second[:-1] == first[:-1]
    assert second[-1].question == "Another."
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_what_was_left_out_is_told_each_time_and_checksums_are_kept(tmp_path, capsys):
    options = {"manual_dir": tmp_path, "data_dir": tmp_path / "kept"}
    put(tmp_path, "mbpp.jsonl", lines(MBPP_ROW, MBPP_ROW | {"task_id": 2000}) + b'\n{"task')
    for _ in range(2):
        found = load_problem_set("mbpp:train", **options)
        assert len(found.problems) == 1
        assert [row.where for row in found.rejected] == [
            f"{tmp_path}/mbpp.jsonl line {n}" for n in (2, 3)
        ]
    capsys.readouterr()
    load_problems("mbpp:train", **options)
    assert "mbpp:train: 2 rows left out: task_id (1), not JSON (1)" in capsys.readouterr().err
    (metadata,) = (tmp_path / "kept").rglob("metadata.json")
    sums = json.loads(metadata.read_text())["sha256"]
    wanted = subprocess.run(
        ["sha256sum", tmp_path / "mbpp.jsonl"], capture_output=True, text=True, check=True
    )
    assert sums == {"train": {"mbpp.jsonl": wanted.stdout.split()[0]}}


def test_files_that_have_only_other_splits_are_said_to(tmp_path):
    put(tmp_path, "mbpp.jsonl", json.dumps(MBPP_ROW).encode())
    with pytest.raises(ProblemError, match=r"mbpp:test holds no problem: .* no row of this split"):
        load_problems("mbpp:test", manual_dir=tmp_path, data_dir=tmp_path / "kept")


def test_a_set_with_no_problem_at_all_is_refused_and_nothing_is_kept(tmp_path):
    options = {"manual_dir": tmp_path, "data_dir": tmp_path / "kept"}
    put(tmp_path, "HumanEval.jsonl", b'{"task_id": 1}\n')
    for _ in range(2):
        with pytest.raises(ProblemError, match=r"holds no problem: 1 rows.*\n.*entry_point"):
            load_problems("humaneval", **options)
    assert not list((tmp_path / "kept").rglob("*.array_record*"))


def test_joined_splits_come_in_their_order(tmp_path):
    options = {"manual_dir": tmp_path, "data_dir": tmp_path / "kept"}
    put(tmp_path, "mbpp.jsonl", lines(MBPP_ROW, TEST_ROW))
    assert [p.id for p in load_problems("mbpp:train+test", **options)] == ["mbpp/601", "mbpp/11"]


def test_a_builder_by_itself_prepares_every_split_that_is_there(tmp_path):
    put(tmp_path, "mbpp.jsonl", lines(MBPP_ROW, TEST_ROW))
    options = cache.tfds.download.DownloadConfig(manual_dir=str(tmp_path))
    builder = BUILDERS["mbpp"](only=("train", "test"), data_dir=str(tmp_path / "kept"))
    builder.download_and_prepare(download_config=options)
    assert {k: len(v) for k, v in builder.as_data_source().items()} == {"train": 1, "test": 1}
    assert str(builder.version) == "1.0.0"
    put(tmp_path, "manual/apps/train/0007", None)
    put(tmp_path, "manual/apps/test.jsonl", lines(APPS_ROW))
    options = cache.tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual"))
    builder = BUILDERS["apps"](data_dir=str(tmp_path / "kept"))
    builder.download_and_prepare(download_config=options)
    assert set(builder.info.splits) == {"train", "test"}


def test_a_builder_that_finds_nothing_says_what_to_put_where(tmp_path):
    options = cache.tfds.download.DownloadConfig(manual_dir=str(tmp_path))
    for name in ("jsonl", "mbpp"):
        builder = BUILDERS[name](data_dir=str(tmp_path / "kept"))
        with pytest.raises(ProblemError, match=r"is not in.*: put "):
            builder.download_and_prepare(download_config=options)


def test_builtin_problems_can_be_kept_too(tmp_path):
    builder = BUILDERS["builtin"](only=("handwritten_heldout",), data_dir=str(tmp_path))
    builder.download_and_prepare()
    kept = [from_example(row).problem for row in builder.as_data_source("handwritten_heldout")]
    wanted = builtin_problems("handwritten_heldout")
    assert [p.id for p in kept] == [p.id for p in wanted]
    for problem, own in zip(kept, wanted, strict=True):
        solution = tidy(own.canonical_solution)
        assert problem == replace(own, canonical_solution=solution)


def test_reading_and_writing_need_no_tensorflow(tmp_path):
    put(tmp_path, "mbpp.jsonl", lines(MBPP_ROW))
    program = (
        "import sys; from pathlib import Path\n"
        "from stepcoder_jax.data.sources import load_problems\n"
        f"here = Path({str(tmp_path)!r})\n"
        "print(len(load_problems('mbpp:train', manual_dir=here, data_dir=here / 'kept')))\n"
        "assert 'tensorflow_datasets' in sys.modules and 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
