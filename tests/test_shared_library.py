"""A library is compiled once for what it is made of, and what was in the way is said in a line."""

import ctypes
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cpp_compiler import compiled

from stepcoder_jax.shared_library import NoLibraryError, shared_library

SOURCE = """
#include "the_number.h"
extern "C" int answer() { return kNumber; }
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "headers").mkdir()
    (tmp_path / "headers" / "the_number.h").write_text("constexpr int kNumber = 42;\n")
    (tmp_path / "answer.cc").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def calls(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets a line each time the compiler is called."""
    script, log = place / "compiler", place / "calls"
    script.write_text(
        f'#!/bin/sh\necho called >> "{log}"\nexec {os.environ.get("CXX", "c++")} "$@"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    log.touch()
    monkeypatch.setenv("CXX", f"{script} -DUNUSED")
    return log


def made(place: Path, **other: object) -> Path:
    return shared_library(
        place / "answer.cc", include=place / "headers", folder=place / "kept" / "lib", **other
    )


def answer(library: Path) -> int:
    return int(ctypes.CDLL(str(library)).answer())


@compiled
def test_it_is_compiled_once_for_what_it_is_made_of(place: Path, calls: Path) -> None:
    first = made(place, kind=("avx512f", "sse"))
    assert answer(first) == 42
    assert made(place, kind=("sse", "avx512f")) == first
    assert calls.read_text().count("called") == 1
    others = {made(place, kind=("sse",))}
    (place / "answer.cc").write_text(SOURCE.replace("return kNumber", "return -kNumber"))
    others.add(made(place, kind=("sse",)))
    assert len(others | {first}) == 3
    assert calls.read_text().count("called") == 3
    assert sorted(answer(library) for library in others) == [-42, 42]
    assert {path.suffix for path in first.parent.iterdir()} == {".so"}


@compiled
def test_many_may_ask_at_the_same_time(place: Path, calls: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        libraries = set(pool.map(lambda _: made(place), range(8)))
    assert len(libraries) == 1
    assert answer(libraries.pop()) == 42


def test_without_a_compiler_its_name_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(NoLibraryError, match=r"no-such-compiler; CXX"):
        made(place)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(NoLibraryError, match=r"no C\+\+ compiler \(c\+\+;"):
        made(place)
    monkeypatch.setenv("CXX", "c++ '-DX")
    with pytest.raises(NoLibraryError, match=r"CXX = .*-DX.* is no command: No closing quotation"):
        made(place)


@compiled
def test_what_is_there_needs_no_compiler(
    place: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = made(place)
    monkeypatch.setenv("PATH", str(place / "nowhere"))
    (place / "compiler").unlink()
    assert made(place) == library
    assert calls.read_text().count("called") == 1


@compiled
def test_what_the_compiler_says_is_said(place: Path) -> None:
    (place / "headers" / "the_number.h").write_text("int other;\n")
    with pytest.raises(NoLibraryError, match=r"ended with status 1: .*answer\.cc:3.*kNumber"):
        made(place)
    assert list((place / "kept" / "lib").iterdir()) == []


@compiled
def test_a_folder_that_cannot_be_written_is_said(place: Path) -> None:
    (place / "kept").write_text("a file")
    with pytest.raises(NoLibraryError, match=r"kept/lib/answer-.*: Not a directory"):
        made(place)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "#!/bin/sh\necho first >&2; echo note: no developer tools >&2; exit 2\n",
            "status 2: note: no",
        ),
        ("#!/bin/sh\nexit 3\n", "status 3: nothing said"),
        ("#!/bin/sh\n", "cannot be written: No such file or directory"),
        ("no script", "compiler cannot be run: Exec format error"),
        ('#!/bin/sh\necho "error: $LC_ALL, input: $(cat)" >&2; exit 1\n', "error: C, input:$"),
    ],
)
def test_a_compiler_that_is_none_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    (place / "compiler").write_text(script)
    (place / "compiler").chmod(0o755)
    monkeypatch.setenv("CXX", str(place / "compiler"))
    with pytest.raises(NoLibraryError, match=said):
        made(place)
    assert list((place / "kept" / "lib").iterdir()) == []


def test_a_compiler_that_does_not_end_is_ended(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "compiler").write_text("#!/bin/sh\nexec sleep 60\n")
    (place / "compiler").chmod(0o755)
    monkeypatch.setenv("CXX", str(place / "compiler"))
    monkeypatch.setattr("stepcoder_jax.shared_library._TIMEOUT_S", 0.2)
    with pytest.raises(NoLibraryError, match=r"answer\.cc .* took over 0\.2 s"):
        made(place)
