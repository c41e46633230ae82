"""What a slot believes of the child's word on its own progress: any bits may stand there."""

import importlib
import math
from pathlib import Path

import pytest
import stepcoder_executor
from stepcoder_executor.records import read_records

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


def test_records_are_whole_and_no_more_than_the_tests():
    one = b'[%d, "ran", "", 0, 0, 0.5, false]\n%d\n'
    blob = b"".join(one % (k, k * k) for k in range(4))
    assert [record.value for record in read_records(blob, 1.0, 3).values()] == ["0", "1", "4"]
    # The last one is still being written.
    assert list(read_records(blob[:-1], 1.0, 9)) == [0, 1, 2]
    assert read_records(b"\n" * 1000 + blob, 1.0, 9) == {}
