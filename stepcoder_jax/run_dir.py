"""A run directory: the configuration, logs that can be rewound, and what phases leave behind."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import IO, Any

import yaml

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.processes import from_first, is_first, share
from stepcoder_jax.recipe import decode_config, encode_config
from stepcoder_jax.recipe_changes import BEFORE_PPO, FOUNDATION, is_among, recipe_changes

LOGS = ("metrics", "samples")
# What the canonical solutions did, and what of a recipe that depends on.
VERIFIED, ORIGIN = "verified.json", "origin.json"
_VERIFIES = ("data", "executor", "seed")


class RunDirError(ValueError):
    """The run directory cannot be used; the message names it and says what to do."""


class RunDir:
    """Everything a run writes, under one path that all its processes see.

    The first process writes; what others do with it is to no effect. What they read, it tells them.

    ``config.yaml`` the recipe in full, ``config.1.yaml`` … those it replaced ·
    ``metrics.jsonl`` one object a step · ``samples.jsonl`` a few rollouts an iteration ·
    ``evaluations.json`` by label · ``summary.json`` at the end · ``tokenizer/`` ·
    ``checkpoints/sft``, ``checkpoints/ppo`` · ``nonfinite/`` steps that were not finite ·
    ``report.html``.

    Attributes:
      changes: fields of the recipe that differ from the one kept here, as people read them.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self.changes: tuple[str, ...] = ()
        self._lock: IO[str] | None = None

    @classmethod
    def open(cls, config: RunConfig, *, allow_changes: bool = False) -> "RunDir":
        """Makes the directory, or takes up one that the same recipe began.

        Args:
          allow_changes: take it up with another recipe, too, which ``adopt`` then keeps.

        Raises:
          RunDirError: another run has it open, it holds a run of a different recipe (the message
            shows the difference), or not all processes see it.
        """
        run = cls(config.run_dir, writes=is_first())
        try:
            changes = from_first(lambda: run._take(config, allow_changes=allow_changes))
            run.changes = tuple(changes)
            run._check_shared()
        except BaseException:
            run.close()
            raise
        return run

    def adopt(self, config: RunConfig) -> None:
        """Keeps a recipe that has changed, and the one before it under the next free number."""
        if self.changes and self._writes:
            names = (f"config.{number}.yaml" for number in count(1))
            free = next(name for name in names if not (self.path / name).exists())
            self._write(free, (self.path / "config.yaml").read_text(encoding="utf-8"))
            self._write("config.yaml", encode_config(config))

    def close(self) -> None:
        """Lets another process open the directory."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer made for fresh weights."""
        return self.path / "tokenizer"

    def checkpoints(self, phase: str) -> Path:
        """Folder of a phase's checkpoints."""
        return self.path / "checkpoints" / phase

    def append(self, log: str, row: Mapping[str, Any]) -> None:
        """Adds a line to a log."""
        if not self._writes:
            return
        with (self.path / f"{log}.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")

    def last(self, log: str, *, phase: str) -> dict[str, Any]:
        """The newest line of a phase in a log; empty without one."""

        def read() -> dict[str, Any]:
            rows = (json.loads(line) for line in reversed(self._lines(log)))
            return next((row for row in rows if row["phase"] == phase), {})

        return from_first(read)

    def marks(self) -> dict[str, int]:
        """How long the logs are, in bytes: saved with a checkpoint."""
        paths = {log: self.path / f"{log}.jsonl" for log in LOGS}
        return {log: p.stat().st_size if p.exists() else 0 for log, p in paths.items()}

    def rewind(self, marks: Mapping[str, int]) -> None:
        """Cuts the logs back to a checkpoint's marks: steps after it will be taken again."""
        if not self._writes:
            return
        for log, size in marks.items():
            path = self.path / f"{log}.jsonl"
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)

    def rewind_before(self, phase: str) -> None:
        """Cuts the logs back to before a phase, which begins from no checkpoint."""
        if not self._writes:
            return
        size = 0
        for line in self._lines("metrics"):
            if json.loads(line)["phase"] == phase:
                break
            size += len(line)
        self.rewind({"metrics": size, "samples": 0})

    def has(self, log: str, fields: Mapping[str, Any]) -> bool:
        """Whether a log has a line with these fields."""
        return from_first(
            lambda: any(fields.items() <= json.loads(line).items() for line in self._lines(log))
        )

    def evaluation(self, label: str) -> dict[str, Any] | None:
        """What an evaluation with this label found; None before it has run."""
        found = self.read_json("evaluations.json") or {}
        return found.get(label)

    def keep_evaluation(self, label: str, found: Mapping[str, Any]) -> None:
        """Saves an evaluation, so that a resumed run does not repeat it."""
        every = self.read_json("evaluations.json") or {}
        self.write_json("evaluations.json", {**every, label: found})

    def read_json(self, name: str) -> Any:
        """Content of a JSON file in the directory; None if there is none."""
        path = self.path / name
        return from_first(
            lambda: json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        )

    def write_json(self, name: str, content: Any) -> None:
        """Replaces a JSON file in one step, so that a kill leaves the old or the new one."""
        self._write(name, json.dumps(content, indent=1, ensure_ascii=False))

    def _write(self, name: str, text: str) -> None:
        if not self._writes:
            return
        part = self.path / f"{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(self.path / name)

    def _lines(self, log: str) -> list[bytes]:
        path = self.path / f"{log}.jsonl"
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def _drop_torn_lines(self) -> None:
        """A kill can leave the last line of a log without its end."""
        for log in LOGS:
            lines = self._lines(log)
            if lines and not lines[-1].endswith(b"\n"):
                os.truncate(self.path / f"{log}.jsonl", sum(map(len, lines[:-1])))

    def _take(self, config: RunConfig, *, allow_changes: bool) -> list[str]:
        """Makes the directory this run's own; tells what of the recipe differs from its."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirError(f"run_dir = {str(self.path)!r} cannot be made: {error}") from error
        self._take_lock()
        changes: list[str] = []
        saved = self.path / "config.yaml"
        if saved.exists() and self._is_untouched():
            # A recipe that was refused, with a wrong path in it, does not bind the one put right.
            self._unmake(yaml.safe_load(saved.read_text(encoding="utf-8")), config)
        elif saved.exists():
            changes = self._compare(config, allow_changes=allow_changes)
        if not changes:
            self._write("config.yaml", encode_config(config))
        self._drop_torn_lines()
        return changes

    def _check_shared(self) -> None:
        blind = [i for i, sees in enumerate(share((self.path / "config.yaml").exists)) if not sees]
        if blind:
            raise RunDirError(
                f"run_dir = {str(self.path)!r}: processes {blind} do not see what process 0 writes"
                " there: put it on a file system that all of them share, under the same path"
            )

    def _is_untouched(self) -> bool:
        """Whether the recipe was refused before any work: all that was made here can be again."""
        written = (
            name for file in ("config.yaml", VERIFIED, ORIGIN) for name in (file, f"{file}.part")
        )
        own = {".lock", self.tokenizer.name, f"{self.tokenizer.name}.part", *written}
        return {path.name for path in self.path.iterdir()} <= own

    def has_begun(self) -> bool:
        """Whether there is anything in it that took work and depends on the recipe."""
        return from_first(lambda: not self._is_untouched())

    def _unmake(self, refused: Any, config: RunConfig) -> None:
        """Removes what a refused recipe made here and this one would have otherwise."""
        wanted = yaml.safe_load(encode_config(config))
        if refused == wanted:
            return
        shutil.rmtree(self.tokenizer, ignore_errors=True)
        if not isinstance(refused, dict) or any(refused.get(n) != wanted[n] for n in _VERIFIES):
            (self.path / VERIFIED).unlink(missing_ok=True)

    def _compare(self, config: RunConfig, *, allow_changes: bool) -> list[str]:
        changes = recipe_changes(read_config(self.path), config)
        shown = " | ".join(changes.values())
        if changes and not allow_changes:
            raise RunDirError(
                f"run_dir = {str(config.run_dir)!r} holds a run of another recipe: {shown}."
                " Give another run_dir, or --allow-changes to go on with the new values"
            )
        for phase, fields in (("", FOUNDATION), ("ppo", BEFORE_PPO)):
            kept = [text for name, text in changes.items() if is_among(name, fields)]
            if kept and self.checkpoints(phase).exists():
                raise RunDirError(
                    f"run_dir = {str(config.run_dir)!r} has checkpoints that began from another"
                    f" value: {' | '.join(kept)}. This cannot change: give another run_dir"
                )
        return list(changes.values())

    def _take_lock(self) -> None:
        lock = (self.path / ".lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise RunDirError(f"run_dir = {str(self.path)!r} is in use by another run") from error
        self._lock = lock


def read_config(path: Path) -> RunConfig:
    """The recipe of a run directory.

    Raises:
      RunDirError: it is no run directory.
      ConfigError: its recipe was written by another version and does not fit.
    """
    saved = path / "config.yaml"
    if not saved.is_file():
        raise RunDirError(f"{path} is not a run directory: it has no config.yaml")
    data = yaml.safe_load(saved.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise ConfigError(f"{saved} is not a recipe")
    return decode_config(data, origin=str(saved))
