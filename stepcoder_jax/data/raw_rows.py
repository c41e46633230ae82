"""Rows of a data set straight from its files, with all their solutions, one at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stepcoder_jax.data import apps, apps_plus, humaneval, livecodebench, mbpp
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.json_rows import Row, read_rows
from stepcoder_jax.data.manual import MANUAL_SETS
from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import Found, RawProblem, unique

_FIRST_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class RawRows:
    """A source of rows.

    Attributes:
      files: what they are read from; empty for problems that come with the package.
      read: yields every problem once, and every row that is none; each call begins anew.
    """

    files: tuple[Path, ...]
    read: Callable[[], Iterator[Found]]

    def checksum(self) -> str:
        """sha256 over the names and contents of the files."""
        total = hashlib.sha256()
        for file in self.files:
            total.update(str(file).encode() + b"\0")
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        return total.hexdigest()


def raw_rows(name: str, manual_dir: Path | None) -> RawRows:
    """The rows that a name stands for.

    Args:
      name: ``SET:SPLIT`` as in docs/data.md, with ``+`` between splits; or a file in the form of
        any of these sets, told by its first row; or a folder of APPS folders.
      manual_dir: where data sets that the user has lie.

    Raises:
      ProblemError: there is no such set, split, file or folder.
    """
    path = Path(name)
    if path.is_dir():
        return _folders(path)
    if path.is_file():
        reader = _reader_of(path)
        return RawRows(files=(path,), read=lambda: unique(reader([path])))
    kind, _, splits = name.partition(":")
    if kind == "builtin":
        return RawRows(files=(), read=lambda: _builtin(splits.split("+")))
    if kind not in MANUAL_SETS:
        known = ", ".join(("builtin", *MANUAL_SETS))
        raise ProblemError(f"{name!r}: no such file, folder or set; there are {known}")
    manual = MANUAL_SETS[kind]
    wanted = splits.split("+") if splits else list(manual.splits[:1])
    files = {split: manual.files(split, manual_dir) for split in wanted}

    def read() -> Iterator[Found]:
        return unique(row for split in wanted for row in manual.read(split, files[split]))

    return RawRows(files=tuple(f for split in wanted for f in files[split]), read=read)


def _folders(path: Path) -> RawRows:
    """APPS folders that lie in a folder, or in folders of splits in it."""
    for pattern in ("*/*", "*/*/*"):
        files = tuple(sorted(f for f in path.glob(pattern) if f.name in apps.FILES))
        if files:
            return RawRows(files=files, read=partial(_read_folders, path.name, files))
    raise ProblemError(f"{path}: no folder with {', '.join(apps.FILES)} in it")


def _read_folders(split: str, files: Sequence[Path]) -> Iterator[Found]:
    return unique(apps.read_apps(split, files))


def _reader_of(path: Path) -> Callable[[Sequence[Path]], Iterator[Found]]:
    """Who reads a file, by the fields of the first of its rows that are objects."""
    rows = (row.value for row in _first(read_rows(path)) if isinstance(row, Row))
    fields = next((set(row) for row in rows if isinstance(row, dict)), set())
    if "test_list" in fields:
        read = mbpp.read_sanitized if "test_imports" in fields else mbpp.read_mbpp
        return lambda files: _every_split(read, tuple(mbpp.SPLITS), files)
    if {"entry_point", "test"} <= fields:
        return lambda files: humaneval.read_humaneval("test", files)
    if "question_content" in fields:
        return lambda files: livecodebench.read_livecodebench("test", files)
    if "source" in fields and "tests" in fields:
        return lambda files: read_jsonl("", files)
    if {"input_output", "solutions"} <= fields:
        return lambda files: apps.read_apps(path.stem, files)
    if {"inputs", "outputs"} <= fields or "input_output" in fields:
        return lambda files: apps_plus.read_apps_plus("train", files)
    return lambda files: read_jsonl("", files)


def _first(rows: Iterable[object]) -> Iterator[object]:
    for _, row in zip(range(_FIRST_ROWS), rows, strict=False):
        yield row


def _every_split(
    read: Callable[[str, Sequence[Path]], Iterator[Found]],
    splits: Sequence[str],
    files: Sequence[Path],
) -> Iterator[Found]:
    """The problems of all splits; a row that is none would be told of once for each."""
    for place, split in enumerate(splits):
        for row in read(split, files):
            if place == 0 or isinstance(row, RawProblem):
                yield row


def _builtin(splits: Sequence[str]) -> Iterator[Found]:
    for split in splits:
        try:
            problems = builtin_problems(split)
        except ValueError as error:
            raise ProblemError(str(error)) from error
        for problem in problems:
            solution = problem.canonical_solution
            solutions = () if solution is None else (solution,)
            where = f"builtin:{split} {problem.id}"
            yield RawProblem(problem=problem, solutions=solutions, where=where)
