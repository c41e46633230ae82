import math
import warnings
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.stages import (
    conditional_statements,
    fixed_prefix,
    plan_stages,
    prefix_before,
    stage_count,
    stage_starts,
)

CONFIG = CurriculumConfig()

SOLUTION = """\
import sys

def solve(xs):
    if not xs:
        return 0
    elif len(xs) == 1:
        return xs[0]
    else:
        for x in xs:
            while x > 9:
                x //= 10
    match xs:
        case [1]:
            return 1
    return sum(x for x in xs if x) if xs else 0
"""


def statements(source: str) -> list[tuple[str, str]]:
    """Keyword and first line of each statement."""
    found = conditional_statements(source, CONFIG.statements)
    return [(each.keyword, source[each.start : each.end].splitlines()[0]) for each in found]


def prefixes(source: str) -> list[str]:
    """What comes before each statement."""
    found = conditional_statements(source, CONFIG.statements)
    return [prefix_before(source, each) for each in found]


class TestStatements:
    def test_source_order_nested_ones_included(self):
        assert statements(SOLUTION) == [
            ("if", "if not xs:"),
            ("elif", "elif len(xs) == 1:"),
            ("for", "for x in xs:"),
            ("while", "while x > 9:"),
            ("match", "match xs:"),
        ]

    def test_positions_span_the_whole_statement(self):
        source = "if a:\n    b\nelse:\n    c\nd\n"
        (statement,) = conditional_statements(source, CONFIG.statements)
        assert source[statement.start : statement.end] == "if a:\n    b\nelse:\n    c"

    def test_paper_strict_lists_if_and_elif_only(self):
        found = conditional_statements(SOLUTION, ("if", "elif"))
        assert [each.keyword for each in found] == ["if", "elif"]

    def test_if_inside_else_is_no_elif(self):
        source = "if a:\n    b\nelse:\n    if c:\n        d\n    elif e:\n        f\n"
        assert [keyword for keyword, _ in statements(source)] == ["if", "if", "elif"]

    def test_expressions_are_no_statements(self):
        source = "x = [a if b else c for a in d if a and b]\ny = lambda z: z if z else 1\n"
        assert statements(source) == []

    def test_async_decorated_and_nested_definitions(self):
        source = (
            "@wrap\nasync def f(xs):\n    async for x in xs:\n        pass\n"
            "    def g():\n        while 1: break\n"
        )
        assert statements(source) == [("for", "async for x in xs:"), ("while", "while 1: break")]

    def test_one_liners_after_semicolons(self):
        source = "x = 1; y = 2\nif x: y = 3; z = 4\nfor i in (1, 2): print(i); print(x)\n"
        assert [keyword for keyword, _ in statements(source)] == ["if", "for"]

    def test_columns_are_code_points(self):
        source = "é = '𝄞'\nif é == '日本': print('日本'); é = '𝄞'\n"
        (statement,) = conditional_statements(source, CONFIG.statements)
        assert source[statement.start : statement.end] == source.splitlines()[1]

    def test_line_breaks_are_those_of_python(self):
        # Form feeds and Unicode separators inside strings end no line, a lone \r does.
        source = "a = '\x0c\u2028\x85'\r\nb = 1\rif a:\n    b\n"
        assert statements(source) == [("if", "if a:")]

    def test_invalid_escapes_do_not_warn(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert statements("if a:\n    b = '\\d'\n") == [("if", "if a:")]


class TestPrefix:
    def test_cut_before_the_line_leaves_the_indentation_to_the_response(self):
        source = "def f():\n    # why\n    if a:\n        b\n    elif c:\n        d\n"
        assert prefixes(source) == [
            "def f():\n    # why\n",
            "def f():\n    # why\n    if a:\n        b\n",
        ]

    def test_tabs_and_carriage_returns_are_kept(self):
        source = "def f():\r\n\tx = 1\r\n\tif x:\r\n\t\tpass\r\n"
        assert prefixes(source) == ["def f():\r\n\tx = 1\r\n"]

    def test_one_liner(self):
        assert prefixes("x = 1; y = 2\nif x: y = 3\n") == ["x = 1; y = 2\n"]

    def test_string_of_several_lines_before(self):
        source = "s = '''\nif a:\n'''; t = 'é'\nif s:\n    pass\n"
        assert prefixes(source) == ["s = '''\nif a:\n'''; t = 'é'\n"]

    def test_line_continued_from_nothing_belongs_to_the_statement(self):
        assert prefixes("x = 1\n\\\nif x:\n    pass\n") == ["x = 1\n"]

    def test_comment_that_ends_in_a_backslash_continues_nothing(self):
        assert prefixes("# C:\\\nif x:\n    pass\n") == ["# C:\\\n"]

    def test_prefix_and_rest_are_the_solution(self):
        problem = plan_stages("p", SOLUTION, CONFIG)
        for prefix in problem.prefixes:
            assert SOLUTION.startswith(prefix)
            assert prefix == "" or prefix.endswith("\n")


class TestStages:
    @pytest.mark.parametrize(
        ("statement_count", "stages", "starts"),
        [
            (0, 1, ()),
            (1, 1, ()),
            (2, 2, (1,)),
            (3, 2, (2,)),
            (4, 2, (2,)),
            (5, 3, (2, 4)),
            (9, 3, (3, 6)),
            (10, 4, (3, 6, 9)),
        ],
    )
    def test_golden(self, statement_count, stages, starts):
        assert stage_count(statement_count) == stages
        assert stage_starts(statement_count) == starts

    @given(st.integers(1, 10**6))
    def test_every_stage_starts_at_a_statement_that_exists(self, count):
        stages = stage_count(count)
        assert (stages - 1) ** 2 < count <= stages**2
        starts = stage_starts(count)
        assert len(starts) == stages - 1
        assert all(a < b for a, b in zip((0, *starts), starts, strict=False))
        assert all(start < count for start in starts)

    @given(st.integers(1, 500))
    def test_the_stride_is_the_paper_s(self, count):
        stages = math.ceil(math.sqrt(count))
        stride = math.ceil(count / stages)
        assert stage_starts(count) == tuple(stride * stage for stage in range(1, stages))

    def test_plan_golden(self):
        # E = 5 statements: C = 3 stages, stride 2, so stages 1 and 2 start at e_2 and e_4.
        problem = plan_stages("p", SOLUTION, CONFIG)
        assert problem.parse_error is None
        assert problem.prefixes == (
            "",
            SOLUTION[: SOLUTION.index("        for x")],
            SOLUTION[: SOLUTION.index("    match")],
        )

    def test_prefixes_grow_with_the_stage(self):
        lengths = [len(prefix) for prefix in plan_stages("p", SOLUTION, CONFIG).prefixes]
        assert lengths == sorted(set(lengths))

    @pytest.mark.parametrize("solution", [None, "", "print(1)\n", "if a:\n    b\n"])
    def test_one_stage_where_there_is_nothing_to_skip(self, solution):
        problem = plan_stages("p", solution, CONFIG)
        assert problem.prefixes == ("",)
        assert problem.parse_error is None

    def test_disabled_is_one_stage(self):
        assert plan_stages("p", SOLUTION, replace(CONFIG, enabled=False)).prefixes == ("",)

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("print 'python 2'\n", "SyntaxError"),
            ("if a:\n\tb\n        c\n", "TabError"),
            ("x = '\0'\n", "SyntaxError"),
            ("x = '\ud800'\n", "UnicodeEncodeError"),
            ("x = " + "(" * 300 + ")" * 300, "SyntaxError"),
        ],
    )
    def test_a_solution_that_does_not_parse_says_why_and_keeps_stage_zero(self, source, error):
        problem = plan_stages("p", source, CONFIG)
        assert problem.prefixes == ("",)
        assert problem.parse_error is not None
        assert problem.parse_error.startswith(f"{error}: ")


class TestFixedFraction:
    HALF = replace(CONFIG, start="fixed_fraction", fraction=0.5)

    @pytest.mark.parametrize(
        ("fraction", "follows"),
        [
            (0.0, "import sys"),
            (0.1, "import sys"),  # line 2 is blank: no statement begins there
            (0.14, "def solve"),  # 2 of 15 lines
            (0.2, "    if not xs:"),
            (0.35, "    elif len"),
            (0.5, "        return xs[0]"),  # line 8 is an else
            (0.55, "        for x in xs:"),
            (0.8, "    match xs:"),  # line 13 is a case
            (0.99, "    return sum"),
        ],
    )
    def test_the_prefix_is_whole_lines_before_a_statement(self, fraction, follows):
        prefix = fixed_prefix(SOLUTION, fraction)
        assert SOLUTION.startswith(prefix)
        assert SOLUTION[len(prefix) :].startswith(follows)
        assert prefix.count("\n") <= math.floor(fraction * 15)

    @pytest.mark.parametrize(
        "source",
        [
            "a = [\n1,\n2,\n]\nb\n",  # within brackets
            'a = """\nb\n"""; c = 1\nd\n',  # within a string; c does not begin its line
            "a = \\\n\\\n1\nb\n",  # a continued line
            "@d\n@e\ndef f(): ...\ng\n",  # between a decorator and what it decorates
            "@d\n@e\nclass F: ...\ng\n",
        ],
    )
    def test_a_statement_is_not_cut_in_two(self, source):
        assert fixed_prefix(source, 0.7) == ""
        assert fixed_prefix(source, 0.99) == source[: source[:-1].rindex("\n") + 1]

    def test_a_decorated_function_is_cut_before_its_decorators(self):
        source = "a\nclass B:\n    @c\n    def d(self): ...\n"
        assert fixed_prefix(source, 0.75) == "a\nclass B:\n"

    def test_it_is_the_only_stage(self):
        problem = plan_stages("p", SOLUTION, self.HALF)
        assert problem.prefixes == (fixed_prefix(SOLUTION, 0.5),)
        assert problem.statements == 5

    def test_disabled_wins(self):
        config = replace(self.HALF, enabled=False)
        assert plan_stages("p", SOLUTION, config).prefixes == ("",)

    @given(st.floats(0, 1, exclude_max=True), st.booleans())
    def test_something_is_always_left_to_write(self, fraction, ends_with_break):
        source = "a\nb\nc" + "\n" * ends_with_break
        assert fixed_prefix(source, fraction) == "a\nb\nc\n"[: 2 * math.floor(3 * fraction)]


def test_a_problem_knows_how_many_statements_it_has():
    assert plan_stages("p", SOLUTION, CONFIG).statements == 5
    assert plan_stages("p", SOLUTION, replace(CONFIG, enabled=False)).statements == 5
    assert plan_stages("p", SOLUTION, replace(CONFIG, statements=("while",))).statements == 1
    assert plan_stages("p", None, CONFIG).statements == 0
    assert plan_stages("p", "if", CONFIG).statements == 0
