"""A C++ file made into a library for this very machine, once."""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

_OPTIONS = ("-std=c++20", "-O3", "-march=native", "-fPIC", "-shared", "-w")


class NoLibraryError(RuntimeError):
    """What was in the way, in one line."""


def shared_library(source: Path, *, include: Path, folder: Path, kind: Sequence[str] = ()) -> Path:
    """The library of ``source``, compiled if ``folder`` does not hold it yet.

    It is named after all that it is made of, so one that is there is right. Processes may ask for
    it at the same time.

    Args:
      source: a C++20 file.
      include: folder of the headers that it needs.
      folder: where libraries are kept; made if it is not there.
      kind: what else decides what comes out: the processor's abilities, the headers' version.

    Raises:
      NoLibraryError: no compiler (``$CXX``, else ``c++``), it fails, or nothing can be written.
    """
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    if shutil.which(compiler[0]) is None:
        raise NoLibraryError(f"there is no C++ compiler ({compiler[0]}; CXX names another)")
    command = [*compiler, *_OPTIONS, f"-I{include}"]
    parts = [source.read_text(encoding="utf-8"), platform.machine(), *command, *sorted(kind)]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    library = folder / f"{source.stem}-{digest}.so"
    if not library.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder) as scratch:
                made = Path(scratch) / library.name
                _compile([*command, "-o", str(made), str(source)])
                made.replace(library)
        except OSError as error:
            raise NoLibraryError(f"{library} cannot be written: {error.strerror}") from error
    return library


def _compile(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or ["nothing said"]
        raise NoLibraryError(
            f"{shlex.join(command)} ended with status {done.returncode}: {said[0].strip()}"
        )
