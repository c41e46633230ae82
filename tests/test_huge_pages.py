"""A command's process begins anew where huge pages are to be had by asking, and only there.

Whether it has asked is looked at ("hg" in the kernel's account): what it gets, the machine decides.
"""

import os
import subprocess
import sys

import pytest

from stepcoder_jax import huge_pages
from stepcoder_jax.huge_pages import tunables

MADVISE = "always [madvise] never\n"
TELLS = """
import ctypes, os, re, sys
from stepcoder_jax.huge_pages import use_huge_pages
print("begins", os.getpid(), flush=True)
use_huge_pages()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
ctypes.memset(library.malloc(ctypes.c_size_t(64 << 20)), 1, 64 << 20)
flags = re.findall("VmFlags:(.*)", open("/proc/self/smaps").read())
print(any("hg" in words.split() for words in flags), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
print([name for name in os.environ if name.startswith("STEPCODER")], sys.stdin.read())
sys.exit(3)
"""
to_be_had_by_asking = pytest.mark.skipif(
    tunables("", mode=huge_pages._mode(), libc=huge_pages._libc()) is None,
    reason="this system gives huge pages to everybody or to nobody",
)


@pytest.mark.parametrize(
    ("own", "mode", "libc", "asks"),
    [
        ("", MADVISE, "glibc 2.36", True),
        ("", MADVISE, "glibc 2.35", True),
        ("glibc.rtld.nns=4", MADVISE, "glibc 3.0", True),
        ("glibc.malloc.hugetlb=0", MADVISE, "glibc 2.36", False),
        ("glibc.rtld.nns=4:glibc.malloc.check=0", MADVISE, "glibc 2.36", False),
        ("", "[always] madvise never\n", "glibc 2.36", False),
        ("", "always madvise [never]\n", "glibc 2.36", False),
        ("", "", "glibc 2.36", False),
        ("", MADVISE, "glibc 2.34", False),
        ("", MADVISE, "", False),
    ],
)
def test_it_is_asked_for_where_asking_helps_and_nothing_has_been_decided(
    own: str, mode: str, libc: str, asks: bool
) -> None:
    found = tunables(own, mode=mode, libc=libc)
    assert (found is not None) == asks
    if found is not None:
        settings = found.split(":")
        assert "glibc.malloc.hugetlb=1" in settings
        assert "" not in settings
        assert not own or settings[0] == own


def told(**variables: str) -> tuple[list[str], int]:
    """Lines of a process that asks for huge pages, and its exit status."""
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", TELLS, "a", "b c"]
    environment = plain | variables
    done = subprocess.run(
        command, env=environment, input="typed", capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines(), done.returncode


@to_be_had_by_asking
def test_it_is_the_same_process_with_huge_pages_and_nothing_else_changes() -> None:
    lines, status = told()
    assert lines[0] == lines[1]
    assert lines[2:] == ["True ['a', 'b c'] None", "[] typed"]
    assert status == 3


@to_be_had_by_asking
@pytest.mark.parametrize(
    ("own", "begins", "is_huge"),
    [("glibc.rtld.nns=4", 2, True), ("glibc.malloc.hugetlb=0", 1, False)],
)
def test_what_the_user_says_stays(own: str, begins: int, is_huge: bool) -> None:
    lines, status = told(GLIBC_TUNABLES=own)
    assert len(lines) == begins + 2
    assert lines[begins:] == [f"{is_huge} ['a', 'b c'] {own}", "[] typed"]
    assert status == 3
