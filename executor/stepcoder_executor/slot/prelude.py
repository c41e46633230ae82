"""What a program finds without importing it, and what is imported once for all programs."""

import builtins
import importlib
import os
import sys
import types
from typing import Any, NoReturn

# Order matters: an earlier star import wins over a later one, a built-in over both.
STAR_MODULES = ("typing", "collections", "itertools", "functools", "heapq", "bisect", "math")
NAMED_MODULES = (
    *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "json", "math", "operator", "os", "random", "re", "statistics"),
    *("string", "sys", "time", "typing"),
)
_WARM_MODULES = (
    *("abc", "array", "ast", "atexit", "base64", "calendar", "collections.abc", "contextlib"),
    *("dataclasses", "enum", "gc", "hashlib", "inspect", "io", "linecache", "numbers", "queue"),
    *("struct", "textwrap", "threading", "traceback", "types", "zlib"),
)


def import_modules() -> None:
    """Import the standard modules that programs use, so that a fork finds them ready.

    The hooks that ``random``, ``threading`` and ``logging`` run after every fork are kept out: a
    child here has one thread, and all programs starting from the same random state is a feature.
    """
    register, os.register_at_fork = os.register_at_fork, _register_nothing
    try:
        for name in (*NAMED_MODULES, *STAR_MODULES, *_WARM_MODULES):
            importlib.import_module(name)
    finally:
        os.register_at_fork = register


def prelude_names() -> dict[str, Any]:
    """Built-in names, then the prelude's, for a program's private ``builtins`` module."""
    names = dict(vars(builtins))
    for module in STAR_MODULES:
        members = sys.modules[module]
        public = getattr(members, "__all__", [name for name in dir(members) if name[0] != "_"])
        for name in public:
            names.setdefault(name, getattr(members, name))
    for module in NAMED_MODULES:
        names[module] = sys.modules[module]
    return names | {"exit": _exit, "quit": _exit}


def private_builtins(names: dict[str, Any]) -> types.ModuleType:
    """A ``builtins`` module of the program's own: what it patches there reaches nobody else."""
    module = types.ModuleType("builtins")
    vars(module).update(names)
    return module


def _register_nothing(**hooks: object) -> None:
    del hooks


def _exit(code: object = None) -> NoReturn:
    raise SystemExit(code)
