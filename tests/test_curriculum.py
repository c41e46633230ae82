import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.curriculum import (
    CurriculumState,
    ProblemCurriculum,
    conditional_statements,
    from_arrays,
    initial_state,
    plan_stages,
    prefix_before,
    stage_count,
    stage_histogram,
    stage_starts,
    to_arrays,
    update,
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


def with_stages(*counts: int) -> list[ProblemCurriculum]:
    return [
        ProblemCurriculum(problem_id=str(i), prefixes=("",) * count, parse_error=None)
        for i, count in enumerate(counts)
    ]


def visit(state: CurriculumState, *fractions: float, config=CONFIG) -> CurriculumState:
    """Problem 0, once for each fraction."""
    zeros = np.zeros(len(fractions), int)
    return update(state, zeros, np.float32(fractions), config)


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


class TestState:
    def test_starts_at_the_last_stage(self):
        state = initial_state(with_stages(3, 1))
        np.testing.assert_array_equal(state.stage, [2, 0])
        np.testing.assert_array_equal(state.pass_rate, [0.0, 0.0])
        np.testing.assert_array_equal(state.visits, [0, 0])

    def test_pass_rate_is_a_moving_average(self):
        state = visit(initial_state(with_stages(3)), 0.5, 0.25)
        np.testing.assert_allclose(state.pass_rate, [0.8 * (0.2 * 0.5) + 0.2 * 0.25], rtol=1e-6)
        assert state.stage[0] == 2
        assert state.visits[0] == 2

    def test_four_perfect_groups_move_a_stage(self):
        # 1 - 0.8^3 = 0.488 is not above 0.5; 1 - 0.8^4 = 0.5904 is.
        state = visit(initial_state(with_stages(3)), 1.0, 1.0, 1.0)
        assert state.stage[0] == 2
        state = visit(state, 1.0)
        assert (state.stage[0], state.pass_rate[0], state.visits[0]) == (1, 0.0, 4)

    def test_the_threshold_itself_is_not_above_it(self):
        config = replace(CONFIG, alpha=1.0, threshold=0.5)
        assert visit(initial_state(with_stages(2)), 0.5, config=config).stage[0] == 1
        assert visit(initial_state(with_stages(2)), 0.5625, config=config).stage[0] == 0

    def test_stage_zero_is_the_end_and_the_rate_starts_again_there_too(self):
        # A problem without statements has stage 0 alone.
        state = visit(initial_state(with_stages(1)), 1.0, 1.0, 1.0, 1.0)
        assert (state.stage[0], state.pass_rate[0]) == (0, 0.0)

    def test_others_are_left_alone_and_so_is_the_argument(self):
        before = initial_state(with_stages(2, 3, 2))
        after = update(before, np.array([1]), np.float32([1.0]), replace(CONFIG, alpha=1.0))
        np.testing.assert_array_equal(after.stage, [1, 1, 1])
        np.testing.assert_array_equal(after.visits, [0, 1, 0])
        np.testing.assert_array_equal(before.stage, [1, 2, 1])

    def test_a_problem_that_comes_twice_moves_twice(self):
        state = visit(initial_state(with_stages(3)), 1.0, 1.0, config=replace(CONFIG, alpha=1.0))
        assert state.stage[0] == 0

    @given(
        st.integers(1, 6),
        st.lists(st.integers(0, 16), max_size=60),
        st.sampled_from([0.1, 0.2, 0.5, 1.0]),
        st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    )
    def test_recurrence_against_a_plain_loop(self, stages, passes, alpha, threshold):
        config = replace(CONFIG, alpha=alpha, threshold=threshold)
        state = initial_state(with_stages(stages))
        c, rho = stages - 1, np.float32(0)
        for passed in passes:
            fraction = np.float32(passed / 16)
            state = visit(state, fraction, config=config)
            rho = np.float32(1 - alpha) * rho + np.float32(alpha) * fraction
            if rho > np.float32(threshold):
                c, rho = max(c - 1, 0), np.float32(0)
            assert state.stage[0] == c
            assert state.pass_rate[0] == rho
        assert state.visits[0] == len(passes)

    @given(st.lists(st.integers(0, 16), max_size=60))
    def test_the_stage_never_rises_and_the_rate_stays_at_or_below_the_threshold(self, passes):
        state = initial_state(with_stages(4))
        for passed in passes:
            later = visit(state, passed / 16)
            assert 0 <= later.stage[0] <= state.stage[0]
            assert state.stage[0] - later.stage[0] <= 1
            assert 0.0 <= later.pass_rate[0] <= CONFIG.threshold
            state = later

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
    def test_impossible_fractions_are_refused(self, fraction):
        with pytest.raises(ValueError, match="problem 0 is"):
            visit(initial_state(with_stages(2)), fraction)

    def test_histogram_has_an_entry_for_each_stage_down_to_zero(self):
        state = initial_state(with_stages(3, 1, 3))
        np.testing.assert_array_equal(stage_histogram(state), [1, 0, 2])
        assert stage_histogram(initial_state([])).sum() == 0

    def test_checkpoint_round_trip(self):
        problems = with_stages(3, 2)
        state = update(initial_state(problems), np.array([0]), np.float32([0.7]), CONFIG)
        restored = from_arrays(to_arrays(state), problems)
        for name, array in to_arrays(state).items():
            np.testing.assert_array_equal(getattr(restored, name), array)
            assert getattr(restored, name).dtype == array.dtype

    def test_a_checkpoint_of_other_data_is_refused(self):
        saved = to_arrays(initial_state(with_stages(3, 2)))
        with pytest.raises(ValueError, match="has 3 problems"):
            from_arrays(saved, with_stages(3, 2, 1))
