"""A library is compiled once for what it is made of, and what was in the way is said in a line."""

import ctypes
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stepcoder_jax.shared_library import NoLibraryError, shared_library

SOURCE = """
#include "the_number.h"
extern "C" int answer() { return kNumber; }
"""
compiled = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")


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
    script.write_text(f'#!/bin/sh\necho called >> "{log}"\nexec c++ "$@"\n')
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
