"""What a program finds without importing it, and what is imported once for all programs."""

import builtins
import importlib
import sys
import types
from typing import NoReturn

# Order matters: an earlier star import wins over a later one, a built-in over both.
STAR_MODULES = ("typing", "collections", "itertools", "functools", "heapq", "bisect", "math")
NAMED_MODULES = (
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "json", "math", "operator", "os", "random", "re", "statistics"),
    *("string", "sys", "time", "typing"),
)
# Each module here makes every fork dearer by what it adds to memory: only what programs use often.
_WARM_MODULES = (
    *("abc", "array", "atexit", "collections.abc", "contextlib", "dataclasses", "enum", "gc"),
    *("inspect", "io", "linecache", "numbers", "struct", "textwrap", "threading", "traceback"),
    "types",
)


def import_modules() -> None:
    """Import the standard modules that programs use, so that a fork finds them ready."""
    for name in (*NAMED_MODULES, *STAR_MODULES, *_WARM_MODULES):
        importlib.import_module(name)


def private_builtins() -> types.ModuleType:
    """A ``builtins`` module for programs: Python's own names, then those of the prelude.

    It is made once, in the zygote: copying it for each test would touch the reference counts, and
    so the memory pages, of everything in it.
    """
    module = types.ModuleType("builtins")
    names = vars(module)
    names |= vars(builtins)
    for star in STAR_MODULES:
        members = sys.modules[star]
        public = getattr(members, "__all__", [name for name in dir(members) if name[0] != "_"])
        for name in public:
            names.setdefault(name, getattr(members, name))
    for name in NAMED_MODULES:
        names[name] = sys.modules[name]
    names |= {"exit": _exit, "quit": _exit}
    return module


def _exit(code: object = None) -> NoReturn:
    raise SystemExit(code)
