"""Large arrays in huge pages, where Linux gives them to who asks.

On a CPU a token reads every weight, and with pages of 4 KiB much of that is looking up where they
are. XLA takes its arrays from the C library, which asks for huge pages if the environment says so
when the process begins.
"""

import os
import sys
from pathlib import Path

_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_TUNABLES, _HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
# Holds the user's own GLIBC_TUNABLES while the process begins anew.
_KEPT = "STEPCODER_GLIBC_TUNABLES"
_FIRST_GLIBC = (2, 35)


def use_huge_pages() -> None:
    """Begins this process anew, once, with a C library that asks for huge pages.

    Nothing happens where it would be of no use: Linux gives them to everybody or to nobody, the C
    library is not glibc 2.35 or later, or GLIBC_TUNABLES says itself what ``glibc.malloc.hugetlb``
    is to be; 0 there turns this off. Process id, arguments and open files stay, and what this
    process starts gets the environment as it was.

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
    if _HUGE in own:
        return None
    return ":".join(filter(None, [own, f"{_HUGE}=1"]))


def _restore() -> None:
    own = os.environ.pop(_KEPT)
    if own:
        os.environ[_TUNABLES] = own
    else:
        os.environ.pop(_TUNABLES, None)


def _mode() -> str:
    return _MODE.read_text() if _MODE.exists() else ""


def _libc() -> str:
    names = getattr(os, "confstr_names", {})
    return (os.confstr("CS_GNU_LIBC_VERSION") or "") if "CS_GNU_LIBC_VERSION" in names else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
