"""The function that a starter code begins, and programs that define it without calling it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from stepcoder_jax.source_text import parse

# What makes a whole program of one that ends where a body is to begin.
_BODIES = ("", " pass", "\n    pass", "\n        pass")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class EntryFunction:
    """A function that is begun.

    Attributes:
      name: without its class.
      takes_arguments: whether it has parameters, ``self`` not counted.
    """

    name: str
    takes_arguments: bool


def entry_function(starter_code: str) -> EntryFunction | None:
    """The last function that a starter code begins, or method of its last class; None: none."""
    for body in _BODIES:
        tree = _tree(starter_code.rstrip() + body)
        found = list(_functions(tree)) if tree else []
        if found:
            return _entry(*found[-1])
    return None


def defined(source: str, name: str) -> EntryFunction | None:
    """The function, or method, of that name in a program; None: there is none."""
    tree = _tree(source)
    found = [pair for pair in _functions(tree) if pair[1].name == name] if tree else []
    return _entry(*found[0]) if found else None


def with_call(source: str, name: str) -> str:
    """A program that only defines the function ``name``, without arguments, and now calls it.

    The program itself where it has no such function, or names it outside of its functions.
    """
    tree = _tree(source)
    if tree is None or _is_named(tree, name):
        return source
    for owner, function in _functions(tree):
        if function.name == name and not _takes_arguments(owner, function):
            call = f"{name}()" if owner is None else f"{owner.name}().{name}()"
            return f"{source.rstrip()}\n\n{call}\n"
    return source


def _tree(source: str) -> ast.Module | None:
    try:
        return parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """Functions of the module and methods of its classes, in their order."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield None, node
            case ast.ClassDef(body=body):
                methods = [item for item in body if isinstance(item, Function)]
                yield from ((node, method) for method in methods)


def _entry(owner: ast.ClassDef | None, function: Function) -> EntryFunction:
    return EntryFunction(name=function.name, takes_arguments=_takes_arguments(owner, function))


def _takes_arguments(owner: ast.ClassDef | None, function: Function) -> bool:
    given = function.args
    positional = len(given.posonlyargs) + len(given.args) - (owner is not None)
    return positional > 0 or bool(given.kwonlyargs or given.vararg or given.kwarg)


def _is_named(tree: ast.Module, name: str) -> bool:
    """Whether code that runs without being called names the function."""
    running = [node for node in tree.body if not isinstance(node, Function | ast.ClassDef)]
    return any(
        (isinstance(node, ast.Name) and node.id == name)
        or (isinstance(node, ast.Attribute) and node.attr == name)
        for statement in running
        for node in ast.walk(statement)
    )
