"""One form for tests that say the same: nesting of arguments, line ends, spaces, floats."""

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepcoder_executor import AssertionTests, IoTests, Tests

from stepcoder_jax.data.problems import tidy
from stepcoder_jax.source_text import parse

# Of a float: fewer than repr gives, so that 0.1 + 0.2 is 0.3, and far more than any judge compares.
FLOAT_DIGITS = 12
_LONG_FLOAT = re.compile(r"(?<![\w.])-?\d+\.\d{12,}(?:[eE][+-]?\d+)?(?![\w.])")


@dataclass(frozen=True, kw_only=True)
class Arity:
    """How many positional arguments a function takes; ``most`` None: any number."""

    least: int
    most: int | None

    def takes(self, count: int) -> bool:
        """Whether a call with so many arguments is possible."""
        return self.least <= count and (self.most is None or count <= self.most)


def normal_tests(tests: Tests, solutions: Sequence[str]) -> Tests | None:
    """The same tests in their one form, each once; None where none can be passed.

    Args:
      solutions: the first that defines the function tells how arguments are nested.
    """
    match tests:
        case AssertionTests():
            unique = dict.fromkeys(tidy(text).strip() for text in tests.assertions)
            said = tuple(filter(None, unique))
            return AssertionTests(assertions=said, setup=tidy(tests.setup)) if said else None
        case IoTests(fn_name=None):
            given = tuple(normal_input(_joined(entry)) for entry in tests.inputs)
            wanted = tuple(normal_text(_joined(entry)) for entry in tests.outputs)
            return _unique(IoTests(fn_name=None, inputs=given, outputs=wanted))
        case IoTests(fn_name=str(name)):
            arity = next(filter(None, (arity_of(source, name) for source in solutions)), None)
            nest = _nesting([list(each) for each in tests.inputs], arity)
            pairs = [
                (nest(list(arguments)), normal_value(output))
                for arguments, output in zip(tests.inputs, tests.outputs, strict=True)
                if is_finite(output) and is_finite(arguments)
            ]
            if not pairs:
                return None
            inputs, outputs = zip(*pairs, strict=True)
            return _unique(IoTests(fn_name=name, inputs=inputs, outputs=outputs))
    raise AssertionError(tests)


def unquoted(tests: Tests) -> IoTests | None:
    """The same calls with the quotes around every text taken for JSON's; None if one has none.

    Some rows of APPS have arguments and results as their site shows them, quotes and all.
    """
    if not isinstance(tests, IoTests) or tests.fn_name is None:
        return None
    texts = [value for call in tests.inputs for value in call if isinstance(value, str)]
    if not texts or any(_inside_quotes(text) is None for text in texts):
        return None
    return replace(
        tests,
        inputs=tuple(
            [_bare(value) if isinstance(value, str) else value for value in call]
            for call in tests.inputs
        ),
        outputs=tuple(_bare(output) for output in tests.outputs),
    )


def normal_input(text: str) -> str:
    """Standard input with plain line ends, the last line ended; spaces may matter and stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") or not text else text + "\n"


def normal_text(text: str) -> str:
    """Standard output without spaces behind lines, without blank lines around, floats rounded."""
    lines = [line.rstrip() for line in normal_input(text).split("\n")]
    body = "\n".join(lines).strip("\n")
    body = _LONG_FLOAT.sub(lambda found: _rounded_text(found[0]), body)
    return f"{body}\n" if body else ""


def normal_value(value: Any) -> Any:
    """A returned value with floats rounded to 12 digits and without a negative zero."""
    match value:
        case float():
            return float(f"{value:.{FLOAT_DIGITS}g}") + 0.0
        case list() | tuple():
            return [normal_value(item) for item in value]
        case dict():
            return {key: normal_value(item) for key, item in value.items()}
    return value


def is_finite(value: Any) -> bool:
    """Whether no float in a JSON value is NaN or infinite: JSON has neither."""
    match value:
        case float():
            return math.isfinite(value)
        case list() | tuple():
            return all(map(is_finite, value))
        case dict():
            return all(map(is_finite, value.values()))
    return True


def arity_of(source: str, name: str) -> Arity | None:
    """The arity of a function, or of a method of a class; None where there is none of this name."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    holders: list[ast.Module | ast.ClassDef] = [tree, *classes]
    for holder in holders:
        for node in holder.body:
            if isinstance(node, ast.FunctionDef) and node.name == name:
                return _arity(node, is_method=isinstance(holder, ast.ClassDef))
    return None


def _arity(node: ast.FunctionDef, *, is_method: bool) -> Arity:
    is_static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    most = len(node.args.posonlyargs) + len(node.args.args) - (is_method and not is_static)
    least = max(most - len(node.args.defaults), 0)
    return Arity(least=least, most=None if node.args.vararg else most)


def _nesting(inputs: Sequence[list[Any]], arity: Arity | None) -> Callable[[list[Any]], list[Any]]:
    """How the arguments of every test become those of a call: as they are, if that is possible."""
    ways: tuple[Callable[[list[Any]], list[Any]], ...] = (_as_is, _wrapped, _unwrapped)
    if arity is not None:
        for way in ways:
            if all(arity.takes(len(way(arguments))) for arguments in inputs):
                return way
    return _as_is


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return [_bare(item) for item in value]
    told = _inside_quotes(value) if isinstance(value, str) else None
    return value if told is None else told


def _inside_quotes(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _as_is(arguments: list[Any]) -> list[Any]:
    return arguments


def _wrapped(arguments: list[Any]) -> list[Any]:
    return [arguments]


def _unwrapped(arguments: list[Any]) -> list[Any]:
    is_nested = len(arguments) == 1 and isinstance(arguments[0], list)
    return arguments[0] if is_nested else arguments


def _joined(entry: str | Iterable[str]) -> str:
    return entry if isinstance(entry, str) else "\n".join(entry) + "\n"


def _rounded_text(number: str) -> str:
    rounded = f"{float(number):.{FLOAT_DIGITS}g}"
    # A whole float keeps a point: an output without one is compared exactly.
    return rounded if "." in rounded or "e" in rounded else f"{rounded}.0"


def _unique(tests: IoTests) -> IoTests:
    """Without tests that come again, input and output alike."""
    pairs: dict[str, tuple[Any, Any]] = {}
    for pair in zip(tests.inputs, tests.outputs, strict=True):
        pairs.setdefault(json.dumps(pair, sort_keys=True), pair)
    inputs, outputs = zip(*pairs.values(), strict=True)
    return replace(tests, inputs=inputs, outputs=outputs)
