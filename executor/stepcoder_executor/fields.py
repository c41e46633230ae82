"""Checks of decoded JSON fields, whose messages name the field, its value and what is allowed."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn


class ProtocolError(ValueError):
    """A request, or a part of one, that does not follow the contract."""


def mapping(obj: Any, field: str) -> Mapping[str, Any]:
    """``value`` if it is a JSON object."""
    return typed(obj, field, dict, "a JSON object")


def required(fields: Mapping[str, Any], name: str, field: str | None = None) -> Any:
    """The field of this name, which must be there."""
    if name not in fields:
        given = shorten(sorted(fields))
        raise ProtocolError(f"{field or name} is missing; the fields given are {given}")
    return fields[name]


def no_other_keys(fields: Mapping[str, Any], field: str, allowed: Iterable[str]) -> None:
    """Refuse a field that is not in ``allowed``."""
    unknown = sorted(set(fields).difference(allowed))
    if unknown:
        refuse(f"{field}: unknown field", unknown[0], f"only {', '.join(allowed)}")


def typed(value: Any, field: str, kind: Any, allowed: str) -> Any:
    """``value`` if it is of ``kind``; ``allowed`` says so in words."""
    if not isinstance(value, kind):
        refuse(field, value, allowed)
    return value


def number(value: Any, field: str, maximum: float = math.inf, minimum: float = 1e-3) -> float:
    """``value`` if it is a number in this range."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and minimum <= value <= maximum):
        refuse(field, value, f"a number from {minimum:g} to {maximum:g}")
    return value


def refuse(field: str, value: Any, allowed: str) -> NoReturn:
    """Raise the error that names a field, its value and what is allowed."""
    raise ProtocolError(f"{field} is {shorten(value)}; allowed: {allowed}")


def shorten(value: Any, limit: int = 80, form: Callable[[Any], str] = json.dumps) -> str:
    """``value`` as JSON, cut to ``limit`` characters, for a message."""
    try:
        text = form(value)
    except (TypeError, ValueError, RecursionError):
        text = f"<{type(value).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
