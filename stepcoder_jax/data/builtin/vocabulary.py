"""Words that families share, each with the code it stands for."""

from stepcoder_jax.data.builtin.family import Choice

GREATER = Choice("greater than", ">")
AT_LEAST = Choice("at least", ">=")
LESS = Choice("less than", "<")
AT_MOST = Choice("at most", "<=")
EQUAL = Choice("equal to", "==")
UPPER_BOUNDS = (GREATER, AT_LEAST)
COMPARISONS = (GREATER, AT_LEAST, LESS, AT_MOST)

PLUS = Choice("plus", "+")
MINUS = Choice("minus", "-")
TIMES = Choice("times", "*")

LABELS = (
    ("low", "fair", "high", "top"),
    ("cold", "mild", "warm", "hot"),
    ("short", "plain", "long", "huge"),
    ("red", "blue", "green", "pink"),
)


def tally(item: str) -> tuple[Choice, Choice]:
    """Sum of the items or count of them: what `total` grows by, given the item's name."""
    return (Choice("sum", item), Choice("count", "1"))
