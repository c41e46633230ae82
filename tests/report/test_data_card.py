"""The page of a data card."""

import re
from xml.etree import ElementTree

from stepcoder_jax.report.charts import bar_chart
from stepcoder_jax.report.data_card import render_card

CARD = {
    "problems": "<b>mine",
    "compared_with": ["humaneval"],
    "not_compared_with": ["mbpp:test"],
    "rows": 5,
    "kept": 3,
    "dropped": 2,
    "tests_added": 7,
    "branches_taken": {"by_given_tests": 0.5, "by_all_tests": None},
    "difficulty": {"interview": 3},
    "style": {"call-based": 3},
    "source": {"mine": 3},
    "reasons": {"runtime_error": 2},
    "unreadable": {},
    "conditional_statements": {"2": 1, "5": 2},
    "tests": {"10": 1, "1000": 2},
    "solutions_passing": {},
    "reference_cpu_s": {"up to 0.1 s": 3, "more than 3.0 s": 0},
    "line_overlap": {"none": 0, "up to 25%": 0},
}


def test_a_card_has_its_tables_and_charts():
    page = render_card(CARD)
    assert "<b>mine" not in page
    assert "Not compared with mbpp:test" in page
    assert re.search(r"runtime error</th><td>2<", page)
    assert "50.0 %</b> of branches taken by given tests" in page
    charts = re.findall(r'aria-label="([^"]+)"', page)
    assert charts == ["Conditional statements", "Tests a problem", "Reference CPU time"]


def test_whole_numbers_have_a_bar_each_but_not_a_thousand():
    page = render_card(CARD)
    assert [
        page.count(f"<title>{e}: {n}</title>") for e, n in ((2, 1), (3, 0), (4, 0), (5, 2))
    ] == [1] * 4
    assert page.count("<title>1000: 2</title>") == 1
    assert "<title>500: 0</title>" not in page


def test_bars_are_as_high_as_their_values_and_stay_in_the_frame():
    chart = ElementTree.fromstring(bar_chart("x", [("a", 2), ("b", 4), ("c", 0)], x_label="of x"))
    bars = chart.findall("rect")
    tops, heights = ([float(bar.attrib[name]) for bar in bars] for name in ("y", "height"))
    assert heights[1] == 2 * heights[0] > heights[2] == 0
    assert [top + height for top, height in zip(tops, heights, strict=True)] == [200.0] * 3
    assert min(tops) >= 0
