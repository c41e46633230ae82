"""The first of many names, for a message of one line."""

from collections.abc import Collection
from itertools import islice


def some_names(names: Collection[str], most: int = 10) -> str:
    """``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(islice(names, most)) + more
