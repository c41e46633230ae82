"""What became of each row, a line as soon as it is known: a kill loses what was under way."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stepcoder_jax.config import ConfigError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The fate of one row.

    Attributes:
      number: its place in the source, from 0.
      where: file and line, row or folder.
      id: of its problem; None where there is none.
      reason: why it is dropped, the kind before a colon; None: it is kept.
      row: the refined problem, as in a problem file; None where it is dropped.
      facts: what was learned of it.
    """

    number: int
    where: str
    id: str | None
    reason: str | None
    row: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def kind_of(reason: str) -> str:
    """A reason without its details."""
    return reason.partition(":")[0]


class Journal:
    """An append-only file of entries, in the order in which they were settled.

    Args:
      path: made if it is not there; otherwise gone on with, past a last line that was cut off.
      header: what all entries depend on.
      again: kind of reason of entries that are forgotten, so that their rows are tried again.

    Raises:
      ConfigError: it was begun with another header.
    """

    def __init__(self, path: Path, header: dict[str, Any], again: str) -> None:
        self._path = path
        self._places: dict[int, int] = {}
        self._end = 0
        self._again = again
        if path.is_file() and path.stat().st_size:
            self._take_up(header)
        self._file = path.open("r+b" if path.is_file() else "w+b")
        self._file.truncate(self._end)
        self._file.seek(self._end)
        if not self._end:
            self._write({"header": header})

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, entry: Entry) -> None:
        """Writes an entry down, where a killed process leaves it."""
        self._places[entry.number] = self._end
        self._write(asdict(entry))

    def entries(self) -> Iterator[Entry]:
        """All entries in the order of their rows, one at a time."""
        with self._path.open("rb") as stream:
            for number in sorted(self._places):
                stream.seek(self._places[number])
                yield Entry(**json.loads(stream.readline()))

    def entry(self, number: int) -> Entry:
        """The entry of a row."""
        with self._path.open("rb") as stream:
            stream.seek(self._places[number])
            return Entry(**json.loads(stream.readline()))

    def _write(self, fields: dict[str, Any]) -> None:
        line = json.dumps(fields).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._end += len(line)

    def _take_up(self, header: dict[str, Any]) -> None:
        with self._path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                fields = json.loads(line)
                if "header" in fields:
                    _require_same(fields["header"], header, self._path)
                elif kind_of(fields["reason"] or "") != self._again:
                    self._places[fields["number"]] = self._end
                self._end += len(line)


def _require_same(old: dict[str, Any], new: dict[str, Any], path: Path) -> None:
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        told = ", ".join(f"{n}: {old.get(n)!r:.80}, now {new.get(n)!r:.80}" for n in changed)
        raise ConfigError(f"{path} was begun with other values ({told}); give another --out")
