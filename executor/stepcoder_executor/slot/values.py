"""What a program returned, as JSON text that the judge can compare.

Two forms. *Plain*, for call-based tests: what ``json.dumps`` makes of it, so that a tuple is a
list and a dict's keys are strings. *Tagged*, for assertions, where Python's own equality decides:
``{"tuple": [...]}``, ``{"set": [...]}``, ``{"dict": [[key, value], ...]}`` and so on; anything
that is not a built-in value is ``{"object": type name}`` and equals nothing.
"""

import json
from typing import Any


class NotEncodableError(Exception):
    """A value that no expected output can equal; the message says why."""


def encode_plain(value: object) -> str:
    """``value`` as plain JSON text.

    Raises:
        NotEncodableError: the value is cyclic, too deep, too large, or of another type.
    """
    try:
        return _PLAIN.encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise NotEncodableError(f"returned a value that is not JSON: {error}") from error


def encode_tagged(value: object) -> str:
    """``value`` as tagged JSON text. Raises as :func:`encode_plain` does."""
    try:
        return json.dumps(_tag(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise NotEncodableError(f"gave a value that cannot be compared: {error}") from error


def _refuse(value: object) -> object:
    raise TypeError(f"an object of type {type(value).__name__}")


_PLAIN = json.JSONEncoder(default=_refuse)


def _tag(value: Any) -> Any:
    # isinstance and not type(): a Counter equals a dict, a named tuple a tuple. The conversions
    # use the base type's own methods, whatever the program's subclass defines.
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            number = int.__add__(value, 0)
            return number if number.bit_length() < 64 else {"int": hex(number)}
        case float():
            return float.__float__(value)
        case complex():
            return {"complex": [complex.__getattribute__(value, part) for part in ("real", "imag")]}
        case bytes() | bytearray():
            return {"bytes": bytes(value).hex()}
        case list():
            return [_tag(item) for item in list.__iter__(value)]
        case tuple():
            return {"tuple": [_tag(item) for item in tuple.__iter__(value)]}
        case set() | frozenset():
            return {"set": [_tag(item) for item in list(value)]}
        case dict():
            return {"dict": [[_tag(key), _tag(item)] for key, item in dict.items(value)]}
        case _:
            return {"object": type(value).__name__}
