"""The record of an evaluation: its figures, and everything that is needed to repeat it."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from stepcoder_executor import Executor, Result, Verdict

from stepcoder_jax import __version__
from stepcoder_jax.config import ConfigError, ExecutorSettings, RunConfig
from stepcoder_jax.data.problems import problem_to_json
from stepcoder_jax.problem import Problem
from stepcoder_jax.recipe import encode_config
from stepcoder_jax.verify import verify

_PACKAGES = ("stepcoder-executor", "jax", "jaxlib", "flax", "numpy", "tokenizers", "transformers")
_WEIGHTS = ("*.safetensors", "*.json", "*.gguf")


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Whether the problems can be solved at all, by their canonical solutions.

    Attributes:
      problems: the denominator: those whose solution passes or is not known.
      failed: id -> why, of those whose solution does not pass; left out of every figure.
      unchecked: how many have no solution to check; they are counted.
    """

    problems: tuple[Problem, ...]
    failed: dict[str, str]
    unchecked: int

    def to_json(self) -> dict[str, Any]:
        """Its part of the result."""
        return {"failed": self.failed, "without_solution": self.unchecked}

    def lines(self) -> list[str]:
        """What a person must see."""
        said = [
            f"left out, its solution does not pass: {i}: {why}" for i, why in self.failed.items()
        ]
        if self.unchecked:
            said.append(f"{self.unchecked} problems have no solution to check; they count")
        return said


def preflight(
    problems: Sequence[Problem], client: Executor, settings: ExecutorSettings
) -> Preflight:
    """Runs every canonical solution; one that times out twice, so that no busy moment counts.

    Raises:
      RuntimeError: the executor could not judge a solution.
    """
    failed = verify(problems, client, settings).dropped
    late = [p for p in problems if failed.get(p.id, "").startswith(Verdict.TIMEOUT)]
    in_time = {p.id for p in late} - set(verify(late, client, settings).dropped)
    failed = {i: why for i, why in failed.items() if i not in in_time}
    return Preflight(
        problems=tuple(p for p in problems if p.id not in failed),
        failed=failed,
        unchecked=sum(p.canonical_solution is None for p in problems),
    )


def conditions(config: RunConfig, problems: Sequence[Problem], client: Executor) -> dict[str, Any]:
    """What the figures depend on beside the model or the samples.

    Returns:
      ``config`` (the recipe in full), ``versions``, ``platform``, ``isolation`` and
      ``problems_sha256``, of the problems as a problem file has them, with those that are left out.
    """
    rows = (json.dumps(problem_to_json(p), sort_keys=True) + "\n" for p in problems)
    digest = hashlib.sha256("".join(rows).encode()).hexdigest()
    return {
        "config": yaml.safe_load(encode_config(config)),
        "versions": _versions(),
        "platform": platform.platform(),
        "isolation": client.isolation,
        "problems_sha256": digest,
    }


def verdict_row(task: str, result: Result) -> dict[str, str]:
    """What became of one program: the last of a result file's fields has one for each."""
    failing = next((t for t in result.tests if t.verdict is not Verdict.PASSED), None)
    detail = result.detail or (failing.detail if failing else "")
    return {"task_id": task, "verdict": result.verdict.value, "detail": detail}


def make_place(flag: str, path: Path | None) -> None:
    """Makes the folder of a file that is written at the end, so that hours are not lost to it.

    Raises:
      ConfigError: there cannot be such a file.
    """
    if path is None:
        return
    if path.is_dir():
        raise ConfigError(f"{flag} {path}: is a folder; give the file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(f"{flag} {path}: {path.parent} is no folder") from error


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a result file in one step; its folder is there."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def file_hashes(path: Path) -> dict[str, str]:
    """SHA-256 by name: of a file, or of what a model's folder holds, its subfolders included."""
    files = [path] if path.is_file() else sorted(f for p in _WEIGHTS for f in path.rglob(p))
    hashes = {}
    for file in files:
        with file.open("rb") as content:
            name = file.name if file == path else str(file.relative_to(path))
            hashes[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return hashes


def _versions() -> dict[str, str]:
    installed = {d.name: d.version for d in importlib.metadata.distributions()}
    known = {name: installed[name] for name in _PACKAGES if name in installed}
    return {"python": platform.python_version(), "stepcoder-jax": __version__, **known}
