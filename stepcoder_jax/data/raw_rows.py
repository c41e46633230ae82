"""Rows of a data set straight from its files, with all their solutions, one at a time."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from stepcoder_jax.data import apps, apps_plus, humaneval, livecodebench, mbpp
from stepcoder_jax.data.builtin import builtin_problems
from stepcoder_jax.data.json_rows import Row, read_rows
from stepcoder_jax.data.manual import MANUAL_SETS
from stepcoder_jax.data.problem_file import read_jsonl
from stepcoder_jax.data.problems import ProblemError
from stepcoder_jax.data.raw import Found, RawProblem, unique

_FIRST_ROWS = 20
type Reader = Callable[[Path], Iterator[Found]]


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
        any of these sets, told by its first rows; or a folder of APPS folders.
      manual_dir: where data sets that the user has lie.

    Raises:
      ProblemError: there is no such set, split, file or folder.
    """
    path = Path(name)
    if path.is_dir():
        return _folders(path)
    if path.is_file():
        reader = _reader_of(path)
        return RawRows(files=(path,), read=lambda: unique(reader(path)))
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


def _reader_of(path: Path) -> Reader:
    """Who reads a file: the set whose fields most of the first rows have, broken ones passed by."""
    rows = (row.value for row in read_rows(path) if isinstance(row, Row))
    readers = (_reader_of_row(set(row)) for row in rows if isinstance(row, dict))
    votes = Counter(islice(filter(None, readers), _FIRST_ROWS))
    winner, _ = max(votes.items(), key=lambda vote: vote[1], default=(_read_problem_file, 0))
    return winner


def _reader_of_row(fields: set[str]) -> Reader | None:
    """Who reads rows of these fields; None: no set has them."""
    if "test_list" in fields:
        return _read_sanitized if "test_imports" in fields else _read_mbpp
    if {"entry_point", "test"} <= fields:
        return _read_humaneval
    if "question_content" in fields:
        return _read_livecodebench
    if "source" in fields and "tests" in fields:
        return _read_problem_file
    if {"input_output", "solutions"} <= fields:
        return _read_apps
    if {"inputs", "outputs"} <= fields or "input_output" in fields:
        return _read_apps_plus
    return None


def _read_mbpp(path: Path) -> Iterator[Found]:
    return mbpp.read_mbpp(None, [path])


def _read_sanitized(path: Path) -> Iterator[Found]:
    return mbpp.read_sanitized(None, [path])


def _read_humaneval(path: Path) -> Iterator[Found]:
    return humaneval.read_humaneval("test", [path])


def _read_livecodebench(path: Path) -> Iterator[Found]:
    return livecodebench.read_livecodebench("test", [path])


def _read_apps(path: Path) -> Iterator[Found]:
    return apps.read_apps(path.stem, [path])


def _read_apps_plus(path: Path) -> Iterator[Found]:
    return apps_plus.read_apps_plus(None, [path])


def _read_problem_file(path: Path) -> Iterator[Found]:
    return read_jsonl("", [path])


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
