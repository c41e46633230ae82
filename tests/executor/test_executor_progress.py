"""What a slot believes of the child's word on its own progress: any bits may stand there."""

import importlib
import math
from pathlib import Path

import pytest
import stepcoder_executor

KNOWN, NOW = (1, 10.0, 0.5), (20.0, 2.0)
CASES = {
    "honest": ((2, 15.0, 1.0), (2, 15.0, 1.0)),
    "no news": ((1, 19.0, 1.9), KNOWN),
    "backwards": ((0, 15.0, 1.0), KNOWN),
    "from the future": ((2, 1e9, 1e9), (2, 20.0, 2.0)),
    "from before": ((3, -1e9, -math.inf), (3, 10.0, 0.5)),
    "no number": ((2, math.nan, math.nan), (2, 10.0, 0.5)),
    "more tests than there are": ((5, 15.0, 1.0), KNOWN),
    "all bits": (((1 << 64) - 1, math.nan, math.nan), KNOWN),
}


@pytest.fixture(scope="module")
def believed():
    # The slot's code runs as a package of its own, beside nothing else of the executor's.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(stepcoder_executor.__file__).parent)
        yield importlib.import_module("slot.zygote").believed


@pytest.mark.parametrize("name", CASES)
def test_it_counts_only_forwards_and_within_what_is_possible(believed, name):
    said, taken = CASES[name]
    assert believed(said, KNOWN, NOW, 4) == taken
