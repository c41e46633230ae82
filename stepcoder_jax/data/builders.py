"""TFDS builders of the data sets: ArrayRecord, written row after row and read without TensorFlow.

``Mbpp(data_dir=...)`` and the others are ordinary builders; ``prepared`` is how the package itself
uses them. Rows keep the order of their files.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from stepcoder_jax.data.builtin import SPLITS, builtin_problems
from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.manual import MANUAL_SETS, ManualSet, checksums
from stepcoder_jax.data.problems import ProblemError, parse_problem, problem_to_json
from stepcoder_jax.data.raw import Found, RawProblem, summary

FEATURES = tfds.features.FeaturesDict(
    {
        "id": tfds.features.Text(),
        "question": tfds.features.Text(doc="the requirement in natural language"),
        "difficulty": tfds.features.Text(doc="introductory, interview or competition"),
        "starter_code": tfds.features.Text(),
        "solutions": tfds.features.Sequence(
            tfds.features.Text(), doc="all that are known; the first is the canonical one"
        ),
        "tests": tfds.features.Tensor(
            shape=(), dtype=np.object_, doc="JSON of a problem file's `tests`, packed by zlib"
        ),
        "source": tfds.features.Text(),
        "where": tfds.features.Text(doc="file and line, row or folder it was read from"),
    }
)


class _ProblemBuilder(tfds.core.GeneratorBasedBuilder):
    """Writes what ``_found`` yields; rows that are no problems go into the metadata.

    Args:
      only: the splits to prepare; None: all that are there.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The first."}

    def __init__(self, *, only: tuple[str, ...] | None = None, **options: Any) -> None:
        self._only = only
        super().__init__(file_format="array_record", **options)

    def _info(self) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=FEATURES,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(rejected={}, sha256={}),
        )

    def _generate_examples(self, split: str, found: Iterator[Found]) -> Iterator[tuple[int, Any]]:
        rejected = self.info.metadata["rejected"].setdefault(split, [])
        number = 0
        for row in found:
            if isinstance(row, Rejected):
                rejected.append([row.where, row.reason])
            else:
                yield number, _to_example(row)
                number += 1
        if number == 0:
            told = summary([Rejected(where=w, reason=r) for w, r in rejected])
            other = "its files have no row of this split"
            raise ProblemError(
                f"{self.name}:{split} holds no problem: {told if rejected else other}"
            )


class _ManualBuilder(_ProblemBuilder):
    SET: ManualSet

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        manual_dir = Path(dl_manager.manual_dir)
        generators = {}
        for split, files in files_by_split(self.SET, manual_dir, self._only).items():
            self.info.metadata["sha256"][split] = checksums(files, manual_dir)
            generators[split] = self._generate_examples(split, self.SET.rows(split, files))
        return generators


class Apps(_ManualBuilder):
    """APPS (arXiv 2105.09938)."""

    SET = MANUAL_SETS["apps"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class AppsPlus(_ManualBuilder):
    """APPS+ (arXiv 2402.01391)."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.1.0": "Functions that read standard input are called; more ways to write tests."
    }
    SET = MANUAL_SETS["apps_plus"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class Mbpp(_ManualBuilder):
    """MBPP (arXiv 2108.07732)."""

    SET = MANUAL_SETS["mbpp"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class MbppSanitized(_ManualBuilder):
    """MBPP, the tasks and wordings its authors checked by hand."""

    SET = MANUAL_SETS["mbpp_sanitized"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class Humaneval(_ManualBuilder):
    """HumanEval (arXiv 2107.03374)."""

    SET = MANUAL_SETS["humaneval"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class Livecodebench(_ManualBuilder):
    """LiveCodeBench (arXiv 2403.07974), code generation."""

    SET = MANUAL_SETS["livecodebench"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class Jsonl(_ManualBuilder):
    """Problem files; each is a split, named as the file without ``.jsonl``."""

    SET = MANUAL_SETS["jsonl"]
    MANUAL_DOWNLOAD_INSTRUCTIONS = SET.put


class Builtin(_ProblemBuilder):
    """The problems that come with the package, as many of each split as by default."""

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {s: self._generate_examples(s, _builtin(s)) for s in self._only or SPLITS}


BUILDERS: Mapping[str, type[_ProblemBuilder]] = {
    builder.name: builder
    for builder in (
        Apps,
        AppsPlus,
        Mbpp,
        MbppSanitized,
        Humaneval,
        Livecodebench,
        Jsonl,
        Builtin,
    )
}


def from_example(example: Mapping[str, Any]) -> RawProblem:
    """What ``as_data_source`` gives for a row, as the reader had it."""
    texts = {
        name: value.decode()
        for name, value in example.items()
        if isinstance(value, bytes) and name != "tests"
    }
    where = texts.pop("where")
    solutions = tuple(solution.decode() for solution in example["solutions"])
    tests = json.loads(zlib.decompress(example["tests"]))
    row = {**texts, "tests": tests, "canonical_solution": solutions[0] if solutions else None}
    return RawProblem(problem=parse_problem(row, where), solutions=solutions, where=where)


def files_by_split(
    manual: ManualSet, manual_dir: Path, only: tuple[str, ...] | None
) -> dict[str, list[Path]]:
    """Files of the splits wanted; where none are named, of those that are there.

    Raises:
      ProblemError: a split that was named is not there, or none is.
    """
    if only is not None:
        return {split: list(manual.files(split, manual_dir)) for split in only}
    splits = manual.splits or sorted(p.name.split(".")[0] for p in manual_dir.glob("*.jsonl*"))
    places = [manual_dir / manual.name, manual_dir]
    found = {split: list(manual.find(split, places)) for split in splits}
    there = {split: files for split, files in found.items() if files}
    return there or {s: list(manual.files(s, manual_dir)) for s in (*splits, "NAME")[:1]}


def _builtin(split: str) -> Iterator[Found]:
    for problem in builtin_problems(split):
        solution = problem.canonical_solution
        solutions = () if solution is None else (solution,)
        yield RawProblem(problem=problem, solutions=solutions, where=f"builtin:{split}")


def _to_example(raw: RawProblem) -> dict[str, Any]:
    row = problem_to_json(raw.problem)
    del row["canonical_solution"]
    tests = zlib.compress(json.dumps(row["tests"], ensure_ascii=False).encode(), level=1)
    return {**row, "tests": tests, "solutions": list(raw.solutions), "where": raw.where}
