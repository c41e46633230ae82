"""Axes of a chart: a linear scale from data to pixels, round ticks and their labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A linear axis.

    Attributes:
      low, high: the data range that is shown, low < high.
      start, end: the pixels where they lie.
      ticks: round numbers within the range.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Pixel of `value`."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """Text of a tick, as precise as the ticks' distance."""
        return tick_label(tick, self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0)


def value_axis(
    values: Sequence[float], *, start: float, end: float, from_zero: bool = False
) -> Axis:
    """Axis over all `values` that begins and ends at a tick; with `from_zero` 0 is in it."""
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = (low, high + margin) if from_zero else (low - margin, high + margin)
    step = _round_step((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    return Axis(low=ticks[0], high=ticks[-1], start=start, end=end, ticks=ticks)


def step_axis(steps: Sequence[float], *, start: float, end: float) -> Axis:
    """Axis over whole steps; it begins and ends with the data."""
    low, high = min(steps), max(steps)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = max(_round_step((high - low) / 6), 1.0)
    ticks = tuple(i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1))
    return Axis(low=low, high=high, start=start, end=end, ticks=ticks)


def tick_label(value: float, distance: float) -> str:
    """Shortest text that tells `value` from its neighbours `distance` away: 0.05, 12, 3.5k."""
    if value == 0:
        return "0"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if distance >= size or abs(value) >= 10 * size:
            return f"{value / size:g}{letter}"
    decimals = max(0, -math.floor(math.log10(distance) + 1e-9))
    return f"{value:.{decimals}f}" if decimals <= 4 else f"{value:.3g}"


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
