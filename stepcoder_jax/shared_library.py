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
_TIMEOUT_S = 300


class NoLibraryError(RuntimeError):
    """What was in the way, in one line."""


def shared_library(source: Path, *, include: Path, folder: Path, kind: Sequence[str] = ()) -> Path:
    """The library of ``source``, compiled if ``folder`` does not hold it yet.

    It is named after what decides what comes out: source, command, processor and C library.
    Processes may ask for it at the same time.

    Args:
      source: a C++20 file.
      include: folder of the headers that it needs.
      folder: where libraries are kept; made if it is not there.
      kind: what else decides what comes out: the processor's abilities, the headers' version.

    Raises:
      NoLibraryError: no compiler (``$CXX``, else ``c++``), it fails, or nothing can be written.
    """
    command = [*_compiler(), *_OPTIONS, f"-I{include}"]
    text = source.read_text(encoding="utf-8")
    parts = [text, *command, platform.machine(), *platform.libc_ver(), *sorted(kind)]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    library = folder / f"{source.stem}-{digest}.so"
    if not library.exists():
        if shutil.which(command[0]) is None:
            raise NoLibraryError(f"there is no C++ compiler ({command[0]}; CXX names another)")
        try:
            _compile([*command, str(source)], library)
        except OSError as error:
            raise NoLibraryError(
                f"{library} cannot be written: {error.strerror}"
                " (XDG_CACHE_HOME names another place)"
            ) from error
    return library


def _compiler() -> list[str]:
    named = os.environ.get("CXX", "")
    try:
        return shlex.split(named) or ["c++"]
    except ValueError as error:
        raise NoLibraryError(f"CXX = {named!r} is no command: {error}") from error


def _compile(command: Sequence[str], library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=library.parent) as scratch:
        made = Path(scratch) / library.name
        _run([*command, "-o", str(made)])
        # Half a library would end every process that loads it.
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(library)


def _run(command: Sequence[str]) -> None:
    plain = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=plain,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise NoLibraryError(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NoLibraryError(f"{shlex.join(command)} took over {_TIMEOUT_S} s") from error
    if done.returncode:
        lines = done.stderr.splitlines()
        said = [line for line in lines if "error" in line] or lines[-1:] or ["nothing said"]
        raise NoLibraryError(
            f"{shlex.join(command)} ended with status {done.returncode}: {said[0].strip()}"
        )
