"""The families: those that training draws from, and those that it never does."""

from stepcoder_jax.data.builtin.families.arithmetic import ARITHMETIC
from stepcoder_jax.data.builtin.families.branches import BRANCHES
from stepcoder_jax.data.builtin.families.lists import LISTS
from stepcoder_jax.data.builtin.families.searches import SEARCHES
from stepcoder_jax.data.builtin.families.stdio import STDIO
from stepcoder_jax.data.builtin.families.strings import STRINGS
from stepcoder_jax.data.builtin.families.unseen import UNSEEN

KNOWN_FAMILIES = (*ARITHMETIC, *LISTS, *SEARCHES, *STRINGS, *BRANCHES, *STDIO)
UNSEEN_FAMILIES = UNSEEN

__all__ = ["KNOWN_FAMILIES", "UNSEEN_FAMILIES"]
