"""Ticks are round, cover the data, and their labels tell them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_jax.report.axis import step_axis, tick_label, value_axis


@pytest.mark.parametrize(
    ("values", "from_zero", "labels"),
    [
        ([0.41, 0.98], True, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-0.31, 0.75], False, ["-0.5", "0", "0.5", "1.0"]),
        ([2210.0, 2590.0], False, ["2200", "2300", "2400", "2500", "2600"]),
        ([0.0, 12000.0], True, ["0", "5k", "10k", "15k"]),
        ([0.0], True, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ([0.002, 0.053], True, ["0", "0.02", "0.04", "0.06"]),
    ],
)
def test_ticks(values, from_zero, labels):
    axis = value_axis(values, start=0.0, end=1.0, from_zero=from_zero)
    assert [axis.label(tick) for tick in axis.ticks] == labels


def test_steps_are_whole_numbers_and_the_data_fills_the_axis():
    axis = step_axis([1, 2, 3], start=50.0, end=100.0)
    assert axis.ticks == (1.0, 2.0, 3.0)
    assert [axis.at(step) for step in (1, 2, 3)] == [50.0, 75.0, 100.0]
    assert step_axis(range(1, 61), start=0.0, end=1.0).ticks == (10, 20, 30, 40, 50, 60)


finite = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(st.lists(finite, min_size=1), st.booleans())
def test_every_value_lies_on_the_axis(values, from_zero):
    axis = value_axis(values, start=200.0, end=10.0, from_zero=from_zero)
    slack = 1e-6 * 190
    assert all(10.0 - slack <= axis.at(value) <= 200.0 + slack for value in values)
    assert len(axis.ticks) <= 8


def test_labels_of_large_and_small_numbers():
    assert tick_label(2_500_000.0, 500_000.0) == "2500k"
    assert tick_label(3e6, 1e6) == "3M"
    assert tick_label(2e-6, 1e-6) == "2e-06"
