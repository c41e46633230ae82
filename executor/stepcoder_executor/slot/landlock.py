"""Landlock: which files this process and its children may reach, whatever their permissions."""

import ctypes
import os
from collections.abc import Iterable

from slot.syscalls import UnsupportedError, call, prctl

_PR_SET_NO_NEW_PRIVS = 38
_CREATE_VERSION = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_SCRATCH = (
    _WRITE_FILE | _READ_FILE | _READ_DIR | (0b11 << 4) | (1 << 7) | (1 << 8) | _REFER | _TRUNCATE
)
# The number of file rights, by the version of the interface; then network rights and scopes.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_FILE_RIGHTS = 16
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of the interface.

    Raises:
        UnsupportedError: the kernel has no Landlock, or it is switched off.
    """
    try:
        return call("landlock_create_ruleset", None, ctypes.c_size_t(0), _CREATE_VERSION)
    except OSError as error:
        raise UnsupportedError(
            error.errno, f"the kernel offers no Landlock ({error.strerror}): it needs Linux 5.13 "
            "with landlock in CONFIG_LSM, and a container runtime that lets the calls through",
        ) from error  # fmt: skip


def confine(readable: Iterable[str], writable: Iterable[str] = (), scratch: str = "") -> None:
    """Leave only these files within reach, and no network.

    Args:
        readable: files and folders that may be read.
        writable: files that may also be written, and folders whose files may.
        scratch: a folder in which anything but devices may be made and removed.

    Raises:
        UnsupportedError: the kernel has no Landlock.
        OSError: it refused.
    """
    abi = version()
    rights = (1 << _FILE_RIGHTS.get(abi, _LATEST_FILE_RIGHTS)) - 1
    network = 0b11 if abi >= _NETWORK_SINCE else 0
    scoped = 0b11 if abi >= _SCOPES_SINCE else 0
    attributes = _Ruleset(rights, network, scoped)
    size = 8 if abi < _NETWORK_SINCE else 16 if abi < _SCOPES_SINCE else 24
    ruleset = call("landlock_create_ruleset", ctypes.byref(attributes), ctypes.c_size_t(size), 0)
    for path in readable:
        _allow(ruleset, path, (_READ_FILE | _READ_DIR) & rights)
    for path in writable:
        _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE) & rights)
    if scratch:
        _allow(ruleset, scratch, _SCRATCH & rights)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        rights &= ~_READ_DIR
    rule = _PathBeneath(rights, parent)
    call("landlock_add_rule", ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(parent)
