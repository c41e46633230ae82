from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepcoder_jax.config import CurriculumConfig
from stepcoder_jax.curriculum import (
    CurriculumState,
    from_arrays,
    initial_state,
    mixed_problems,
    stage_histogram,
    to_arrays,
    update,
)
from stepcoder_jax.stages import ProblemCurriculum

CONFIG = CurriculumConfig()


def with_stages(*counts: int) -> list[ProblemCurriculum]:
    return [
        ProblemCurriculum(
            problem_id=str(i), prefixes=("",) * count, statements=count**2, parse_error=None
        )
        for i, count in enumerate(counts)
    ]


def visit(state: CurriculumState, *fractions: float, config=CONFIG) -> CurriculumState:
    """Problem 0, once for each fraction."""
    zeros = np.zeros(len(fractions), int)
    return update(state, zeros, np.float32(fractions), config)


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


class TestMix:
    @given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
    def test_it_is_exactly_the_share(self, count, mix, iteration):
        mixed = mixed_problems(count, mix, seed=3, iteration=iteration)
        assert mixed.shape == (count,)
        assert mixed.sum() == round(mix * count)

    def test_seed_and_iteration_say_which(self):
        def draw(seed, iteration):
            return mixed_problems(32, 0.5, seed=seed, iteration=iteration).tolist()

        assert draw(0, 7) == draw(0, 7)
        assert draw(0, 7) != draw(0, 8)
        assert draw(0, 7) != draw(1, 7)

    def test_every_place_has_its_turn(self):
        draws = [mixed_problems(8, 0.25, seed=0, iteration=i) for i in range(400)]
        np.testing.assert_allclose(np.mean(draws, axis=0), 0.25, atol=0.08)
