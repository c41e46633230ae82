"""Values of a model's metadata, whichever file holds it: of the kind and range asked for, or named.

Every check returns the value, and raises ValueError with its key, itself and what is allowed.
"""

from __future__ import annotations

import sys
from typing import Any


def whole_number(key: str, value: Any) -> int:
    """Return a whole number above zero; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} = {value!r} must be a positive whole number")
    return value


def positive_number(key: str, value: Any) -> float:
    """Return a finite number above zero; true and false are none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{key} = {value!r} must be a positive number, and finite")
    return value


def switch(key: str, value: Any) -> bool:
    """Return true or false, which null stands for; no string does."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{key} = {value!r} is not supported; allowed: true, false, null")
    return bool(value)


def mapping(key: str, value: Any) -> dict[str, Any]:
    """Return a JSON object, empty for null."""
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{key} = {value!r} must be a JSON object or null")
    return value or {}


def names(key: str, value: Any) -> list[str]:
    """Return a list of strings, empty for null."""
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    if value is not None and not is_list:
        raise ValueError(f"{key} = {value!r} must be a list of strings or null")
    return value or []
