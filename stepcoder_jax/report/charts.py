"""Line charts, stacked areas and heat maps as SVG; the page's style sheet gives the colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from markupsafe import Markup

from stepcoder_jax.report.axis import Axis, step_axis, value_axis

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 448, 12, 200
MOST_BAR_LABELS = 14


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named curve.

    Attributes:
      label: its name in the legend.
      colour: its class in the style sheet.
      values: one for each step of the chart; None where nothing was measured.
    """

    label: str
    colour: str
    values: tuple[float | None, ...]


def line_chart(
    name: str, steps: Sequence[float], lines: Sequence[Series], *, x_label: str, from_zero: bool
) -> Markup:
    """Curves over steps; a gap where a value is missing. At least one value must be there."""
    known = [value for line in lines for value in line.values if value is not None]
    x = step_axis(steps, start=LEFT, end=RIGHT)
    y = value_axis(known, start=BOTTOM, end=TOP, from_zero=from_zero)
    svg = _frame(name, x, y, x_label)
    for line in lines:
        SubElement(svg, "path", {"class": f"line {line.colour}", "d": _path(steps, line, x, y)})
    for line in lines:
        for step, value in zip(steps, line.values, strict=True):
            if value is not None:
                place = {"cx": _px(x.at(step)), "cy": _px(y.at(value)), "r": "4", "class": "hover"}
                _hint(SubElement(svg, "circle", place), f"{line.label}: {value:.4g} at {step:g}")
    return _markup(svg)


def stacked_chart(
    name: str, steps: Sequence[float], layers: Sequence[Series], *, x_label: str
) -> Markup:
    """Areas on top of each other, the first at the bottom; a missing value counts as 0."""
    bottoms = [0.0] * len(steps)
    tops = []
    for layer in layers:
        tops.append([b + (v or 0.0) for b, v in zip(bottoms, layer.values, strict=True)])
        bottoms = tops[-1]
    x = step_axis(steps, start=LEFT, end=RIGHT)
    y = value_axis([0.0, *bottoms], start=BOTTOM, end=TOP, from_zero=True)
    svg = _frame(name, x, y, x_label)
    # From the highest down: each area is drawn from zero and hides what lies under the next.
    for layer, top in reversed(list(zip(layers, tops, strict=True))):
        _hint(SubElement(svg, "path", _area(steps, top, layer.colour, x, y)), layer.label)
    return _markup(svg)


def heat_map(
    name: str, steps: Sequence[float], columns: Sequence[Sequence[float]], *, x_label: str
) -> Markup:
    """A column of cells for each step, entry 0 at the bottom, as dark as its share."""
    rows = max(len(column) for column in columns)
    x = step_axis(steps, start=LEFT, end=RIGHT)
    height = (BOTTOM - TOP) / rows
    width = (RIGHT - LEFT) / len(steps)
    svg = _svg(name)
    for i, (step, column) in enumerate(zip(steps, columns, strict=True)):
        total = sum(column) or 1.0
        for row, count in enumerate(column):
            corner = (LEFT + i * width, BOTTOM - (row + 1) * height)
            hint = f"stage {row}: {count / total:.1%} at {step:g}"
            _hint(SubElement(svg, "rect", _cell(corner, width, height, count / total)), hint)
    for row in range(rows):
        _text(svg, LEFT - 6, BOTTOM - (row + 0.5) * height + 4, str(row), "tick end")
    middle = LEFT + width / 2
    cells = Axis(low=x.low, high=x.high, start=middle, end=RIGHT - width / 2, ticks=x.ticks)
    _step_labels(svg, cells, x_label)
    return _markup(svg)


def bar_chart(name: str, bars: Sequence[tuple[str, float]], *, x_label: str) -> Markup:
    """Bars from zero, a label under each, or under some where there are many; at least one bar."""
    svg = _svg(name)
    y = value_axis([height for _, height in bars], start=BOTTOM, end=TOP, from_zero=True)
    _value_lines(svg, y)
    width = (RIGHT - LEFT) / len(bars)
    stride = -(-len(bars) // MOST_BAR_LABELS)
    for place, (label, height) in enumerate(bars):
        left, top = LEFT + place * width, y.at(height)
        box = {"x": _px(left + width / 10), "y": _px(top), "width": _px(width * 0.8)}
        shape = {**box, "height": _px(BOTTOM - top), "class": "cell"}
        _hint(SubElement(svg, "rect", shape), f"{label}: {height:g}")
        if place % stride == 0:
            _text(svg, left + width / 2, BOTTOM + 17, label, "tick middle")
    _text(svg, (LEFT + RIGHT) / 2, BOTTOM + 35, x_label, "tick middle")
    return _markup(svg)


def _frame(name: str, x: Axis, y: Axis, x_label: str) -> Element:
    svg = _svg(name)
    _value_lines(svg, y)
    _step_labels(svg, x, x_label)
    return svg


def _value_lines(svg: Element, y: Axis) -> None:
    for tick in y.ticks:
        place = _px(y.at(tick))
        ends = {"x1": str(LEFT), "x2": str(RIGHT), "y1": place, "y2": place}
        SubElement(svg, "line", {**ends, "class": "zero" if tick == 0 else "grid"})
        _text(svg, LEFT - 6, y.at(tick) + 4, y.label(tick), "tick end")


def _step_labels(svg: Element, x: Axis, x_label: str) -> None:
    for tick in x.ticks:
        place = _px(x.at(tick))
        ends = {"x1": place, "x2": place, "y1": str(BOTTOM), "y2": str(BOTTOM + 4)}
        SubElement(svg, "line", {**ends, "class": "zero"})
        _text(svg, x.at(tick), BOTTOM + 17, x.label(tick), "tick middle")
    _text(svg, (LEFT + RIGHT) / 2, BOTTOM + 35, x_label, "tick middle")


def _path(steps: Sequence[float], line: Series, x: Axis, y: Axis) -> str:
    commands, pen = [], "M"
    for step, value in zip(steps, line.values, strict=True):
        if value is None:
            pen = "M"
            continue
        # A lone point is a line of no length: its round cap shows it as a dot.
        commands.append(f"{pen}{_px(x.at(step))} {_px(y.at(value))}" + ("h0" * (pen == "M")))
        pen = "L"
    return "".join(commands)


def _area(
    steps: Sequence[float], top: Sequence[float], colour: str, x: Axis, y: Axis
) -> dict[str, str]:
    if len(steps) == 1:
        steps, top = (x.low, x.high), (top[0], top[0])
    points = [f"{_px(x.at(s))} {_px(y.at(v))}" for s, v in zip(steps, top, strict=True)]
    floor = _px(y.at(0.0))
    d = f"M{_px(x.at(steps[0]))} {floor}L{'L'.join(points)}L{_px(x.at(steps[-1]))} {floor}Z"
    return {"class": f"area {colour}", "d": d}


def _cell(corner: tuple[float, float], width: float, height: float, share: float) -> dict[str, str]:
    left, top = corner
    place = {"x": _px(left), "y": _px(top), "width": _px(width), "height": _px(height)}
    return {**place, "class": "cell", "fill-opacity": f"{share:.3f}"}


def _svg(name: str) -> Element:
    return Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": name})


def _text(svg: Element, x: float, y: float, text: str, style: str) -> None:
    SubElement(svg, "text", {"x": _px(x), "y": _px(y), "class": style}).text = text


def _hint(element: Element, text: str) -> None:
    SubElement(element, "title").text = text


def _px(value: float) -> str:
    return f"{value:.2f}"


def _markup(svg: Element) -> Markup:
    # ElementTree escapes every text and attribute.
    return Markup(ElementTree.tostring(svg, encoding="unicode"))
