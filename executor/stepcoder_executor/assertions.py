"""Splits an ``assert`` so that the program only computes and the verdict is made outside.

``assert f(2) == [1, 2]`` becomes the leaf ``f(2)``, evaluated in the sandbox, and a skeleton
``leaf == [1, 2]``, evaluated here. A skeleton is made of literals, comparisons, ``and``, ``or``,
``not``, arithmetic on numbers, and a few pure functions (``set``, ``sorted``, ``math.isclose``…).
An assertion of any other form cannot be split: it runs inside and is not to be trusted.
"""

import ast
import json
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_MOST_DIGITS = 10_000


def _round(number: Any, digits: int | None = None) -> Any:
    """``round``, but for digits that a program has chosen to keep the judge at work."""
    if digits is not None and abs(digits) > _MOST_DIGITS:
        raise ValueError(f"round to {digits} digits")
    return round(number, digits)


_PURE: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (abs, bool, dict, float, frozenset, int, len, list, max, min, set)
} | {function.__name__: function for function in (sorted, str, sum, tuple, math.isclose)}
_PURE |= {"math.isclose": math.isclose, "round": _round}

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Opaque:
    """A value of a type that is not built in: it equals nothing but itself."""


@dataclass(kw_only=True)
class Skeleton:
    """An assertion's outside part: ``tree`` with the leaves as names that index ``leaves``."""

    source: str
    tree: ast.expr = field(default_factory=lambda: ast.Constant(None))
    leaves: list[str] = field(default_factory=list)
    literals: int = 0


def split(assertion: str, source: str) -> Skeleton | None:
    """The skeleton and leaves of an assertion, or None if its form does not allow it.

    Args:
        assertion: one ``assert`` statement.
        source: the program, which may have its own meaning for a pure function's name.

    Raises:
        SyntaxError: the assertion is not Python.
    """
    body = ast.parse(assertion.strip()).body
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    test = body[0].test
    skeleton = Skeleton(source=source)
    skeleton.tree = _outside(test, skeleton)
    if not skeleton.leaves:
        return None
    is_judged = skeleton.literals > 0 and not _is_leaf(skeleton.tree)
    return skeleton if is_judged or _is_lone_call(test) else None


def holds(skeleton: Skeleton, values_json: str) -> bool:
    """Whether the assertion is true of the leaves' values, given as tagged JSON text.

    Raises:
        Exception: what the same expression would have raised in Python.
        ValueError: the text is not a list of tagged values, one a leaf.
    """
    values = [_untag(value) for value in json.loads(values_json)]
    if len(values) != len(skeleton.leaves):
        raise ValueError("as many values as leaves were expected")
    return bool(_evaluate(skeleton.tree, values))


def _outside(node: ast.expr, skeleton: Skeleton) -> ast.expr:
    """``node`` with what only the program can compute replaced by leaves."""
    if _is_literal(node):
        skeleton.literals += 1
        return node
    match node:
        case ast.Compare(left, ops, comparators):
            operands = [_outside(part, skeleton) for part in comparators]
            return ast.Compare(_outside(left, skeleton), ops, operands)
        case ast.BoolOp(op, values):
            return ast.BoolOp(op, [_outside(value, skeleton) for value in values])
        case ast.UnaryOp(ast.Not() as op, operand):
            return ast.UnaryOp(op, _outside(operand, skeleton))
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            return ast.BinOp(_outside(left, skeleton), op, _outside(right, skeleton))
        case ast.Call(func, args, keywords) if _is_pure(node, skeleton.source):
            inner = [_outside(arg, skeleton) for arg in args]
            return ast.Call(func, inner, keywords)
    skeleton.leaves.append(ast.unparse(node))
    return ast.Name(f"leaf {len(skeleton.leaves) - 1}")


def _is_lone_call(test: ast.expr) -> bool:
    """``f(x)`` or ``not f(x)``, where f is the program's and does not itself hold a comparison."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test = test.operand
    return isinstance(test, ast.Call) and _name(test.func) not in ("", "all", "any", "isinstance")


def _is_leaf(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def _is_pure(node: ast.Call, source: str) -> bool:
    name = _name(node.func)
    if name not in _PURE or any(isinstance(arg, ast.Starred) for arg in node.args):
        return False
    if not all(keyword.arg and _is_literal(keyword.value) for keyword in node.keywords):
        return False
    base = re.escape(name.split(".")[0])
    own = rf"\b(?:def|class|as|for)\s+{base}\b|\b{base}\s*(?:=(?!=)|,|:=)|import[^\n]*\b{base}\b"
    return name == "math.isclose" or not re.search(own, source)


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(base), attribute):
            return f"{base}.{attribute}"
    return ""


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return isinstance(node, ast.Call) and _is_float_call(node)
    return True


def _is_float_call(node: ast.Call) -> bool:
    """``float("inf")``, ``set()`` and the like: calls that write a literal Python has not."""
    return _name(node.func) in ("float", "set", "frozenset", "complex") and all(
        _is_literal(arg) for arg in node.args
    )


def _evaluate(node: ast.expr, values: list[Any]) -> Any:
    match node:
        case ast.Name(name):
            return values[int(name.split()[1])]
        case ast.Compare(left, ops, comparators):
            return _compare(_evaluate(left, values), ops, comparators, values)
        case ast.BoolOp(ast.And(), parts):
            return all(_evaluate(part, values) for part in parts)
        case ast.BoolOp(_, parts):
            return any(_evaluate(part, values) for part in parts)
        case ast.UnaryOp(ast.Not(), operand):
            return not _evaluate(operand, values)
        case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
            return _calculate(type(op), _evaluate(left, values), _evaluate(right, values))
        case ast.Call(func, args, keywords):
            options = {word.arg: ast.literal_eval(word.value) for word in keywords if word.arg}
            function = {"complex": complex} | _PURE
            return function[_name(func)](*(_evaluate(arg, values) for arg in args), **options)
    return ast.literal_eval(node)


def _compare(left: Any, ops: list[ast.cmpop], rights: list[ast.expr], values: list[Any]) -> bool:
    for op, node in zip(ops, rights, strict=True):
        right = _evaluate(node, values)
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True


def _calculate(op: type[ast.operator], left: Any, right: Any) -> Any:
    for operand in (left, right):
        if not isinstance(operand, int | float | complex):
            raise TypeError(f"arithmetic on a {type(operand).__name__} in an assertion")
    return _ARITHMETIC[op](left, right)


def _untag(value: Any) -> Any:
    if isinstance(value, list):
        return [_untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    match kind:
        case "int":
            return int(inside, 16)
        case "complex":
            return complex(*inside)
        case "bytes":
            return bytes.fromhex(inside)
        case "tuple":
            return tuple(map(_untag, inside))
        case "set":
            return set(map(_untag, inside))
        case "dict":
            return {_untag(key): _untag(item) for key, item in inside}
    return Opaque()
