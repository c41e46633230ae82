"""Data sets written once as ArrayRecord, and found again while their files stay the same."""

import fcntl
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from stepcoder_jax.cache_dir import cache_dir
from stepcoder_jax.data.builders import BUILDERS, from_example
from stepcoder_jax.data.json_rows import Rejected
from stepcoder_jax.data.manual import MANUAL_SETS, checksums
from stepcoder_jax.data.raw import RawProblem

_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A split on disk.

    Attributes:
      rows: TFDS' data source; ``problems`` decodes it.
      rejected: rows of the files that are no problems.
    """

    rows: Any
    rejected: tuple[Rejected, ...]

    def problems(self, count: int | None = None) -> Iterator[RawProblem]:
        """Yields the first ``count`` problems, or all, in the order of their files."""
        size = len(self.rows) if count is None else min(count, len(self.rows))
        for start in range(0, size, _BATCH):
            places = range(start, min(start + _BATCH, size))
            yield from map(from_example, self.rows.__getitems__(places))


def prepared(name: str, split: str, manual_dir: Path | None, data_dir: Path | None) -> Prepared:
    """A split of a data set that the user has, written to ``data_dir`` if it is not there yet.

    The folder is named after the files' checksums: when a file changes, another folder is made.

    Args:
      name: one of ``MANUAL_SETS``.
      data_dir: None: ``$XDG_CACHE_HOME/stepcoder_jax`` or ``~/.cache/stepcoder_jax``.

    Raises:
      ProblemError: no such split, or its files are not in ``manual_dir``.
    """
    files = MANUAL_SETS[name].files(split, manual_dir)
    assert manual_dir is not None
    sums = json.dumps([str(manual_dir.resolve()), checksums(files, manual_dir)])
    root = data_dir or cache_dir()
    folder = root / f"{name}-{split}-{hashlib.sha256(sums.encode()).hexdigest()[:16]}"
    with _alone(folder):
        builder = BUILDERS[name](only=(split,), data_dir=str(folder))
        tfds.disable_progress_bar()
        # What TFDS says of its progress is no part of a command's result.
        with redirect_stdout(sys.stderr):
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=str(manual_dir))
            )
    rejected = builder.info.metadata["rejected"][split]
    return Prepared(
        rows=builder.as_data_source(split),
        rejected=tuple(Rejected(where=where, reason=reason) for where, reason in rejected),
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps two processes from preparing one folder at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
