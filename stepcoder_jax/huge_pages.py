"""Large arrays in huge pages, where Linux gives them to who asks.

On a CPU a token reads every weight, and with pages of 4 KiB much of that is looking up where they
are. XLA takes its arrays from the C library, which asks for huge pages if the environment says so
when the process begins.
"""

import os
import sys
from pathlib import Path

_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLES = "GLIBC_TUNABLES"
# Arrays of up to 32 MiB, as large as glibc would come to by itself, lie in one heap, which keeps
# 256 MiB of what was given back: clearing a huge page anew for every array takes time as well.
_WANTED = {"hugetlb": 1, "mmap_threshold": 32 << 20, "trim_threshold": 256 << 20}
# Holds the user's own GLIBC_TUNABLES while the process begins anew.
_KEPT = "STEPCODER_GLIBC_TUNABLES"
_FIRST_GLIBC = (2, 35)


def use_huge_pages() -> None:
    """Begins this process anew, once, with a C library that asks for huge pages.

    Nothing happens where it would be of no use: Linux gives them to everybody or to nobody, the C
    library is not glibc 2.35 or later, or GLIBC_TUNABLES says something about ``glibc.malloc``
    itself; ``glibc.malloc.hugetlb=0`` turns this off. Process id, arguments and open files stay,
    and what this process starts gets the environment as it was.

    Source: https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html.
    """
    if _KEPT in os.environ:
        _restore()
        return
    own = os.environ.get(_TUNABLES, "")
    wanted = tunables(own, mode=_mode(), libc=_libc())
    if wanted is not None and sys.executable:
        environment = os.environ | {_TUNABLES: wanted, _KEPT: own}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def tunables(own: str, *, mode: str, libc: str) -> str | None:
    """GLIBC_TUNABLES with huge pages asked for; None where that is of no use or has been decided.

    Args:
      own: what the variable says so far.
      mode: as in Linux's ``transparent_hugepage/enabled``: ``always [madvise] never``.
      libc: ``glibc 2.36``.
    """
    name, _, version = libc.partition(" ")
    if name != "glibc" or _numbers(version) < _FIRST_GLIBC or "[madvise]" not in mode:
        return None
    if "glibc.malloc." in own:
        return None
    wanted = [f"glibc.malloc.{setting}={value}" for setting, value in _WANTED.items()]
    return ":".join(filter(None, [own, *wanted]))


def _restore() -> None:
    own = os.environ.pop(_KEPT)
    if own:
        os.environ[_TUNABLES] = own
    else:
        os.environ.pop(_TUNABLES, None)


def _mode() -> str:
    return _MODE.read_text() if os.access(_MODE, os.R_OK) else ""


def _libc() -> str:
    names = getattr(os, "confstr_names", {})
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in names else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
