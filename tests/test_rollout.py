"""From samples to the learner's arrays."""

import itertools
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from stepcoder_executor import IoTests, Request, Result, Verdict

from stepcoder_jax.config import ExecutorSettings, FGOConfig, RewardConfig
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.ppo_metrics import shown_rollouts
from stepcoder_jax.program import TokenBytes, assemble
from stepcoder_jax.reward_function import Judge
from stepcoder_jax.rewards import Outcome, Reward, RewardFunction, Weight, verdict_score
from stepcoder_jax.rollout import Rollout, fingerprints, make_batch, make_rollout
from stepcoder_jax.types import Problem, Prompt, Sample
from stepcoder_jax.worker import Attempt, Worker, row_keys, share_before

END = 256
BYTES = TokenBytes(table=(*(bytes([i]) for i in range(256)), b""))
PROBLEM = Problem(
    id="p",
    question="",
    difficulty="introductory",
    starter_code="",
    canonical_solution=None,
    tests=IoTests(fn_name="f", inputs=([1],), outputs=(2,)),
    source="test",
)


def attempt(response: str, verdict: Verdict, covered: tuple[tuple[int, int], ...] = ()) -> Attempt:
    prompt = Prompt(tokens=(*b"ask:", *b"ab"), prefix_tokens=2)
    tokens = (*response.encode(), END)
    program = assemble(BYTES, prompt.prefix, tokens, stop=(), end_token=END)
    result = Result(id="0", verdict=verdict, tests=(), covered=covered, wall_s=0.0)
    logprobs = tuple(-0.5 * (i + 1) for i in range(len(tokens)))
    sample = Sample(tokens=tokens, logprobs=logprobs, stopped="end_token")
    return Attempt(problem=PROBLEM, prompt=prompt, sample=sample, program=program, result=result)


def rollout(made: Attempt, function: RewardFunction = verdict_score) -> Rollout:
    return make_rollout(
        made,
        problem_index=0,
        stage=1,
        moves_stage=True,
        judge=Judge(function=function, config=RewardConfig()),
        fgo=FGOConfig(),
        rng=np.random.default_rng(0),
    )


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ({"score": None}, "scores"),
        ({"is_trained": np.array([True, False, False, False, True])}, "tokens that count"),
        ({"weights": np.full(5, 0.5, np.float32)}, "weights"),
        ({"attempt": attempt("cdeg", Verdict.FAILED)}, "responses"),
        ({"attempt": attempt("cdef", Verdict.TIMEOUT)}, "verdicts"),
    ],
)
def test_a_fingerprint_tells_what_differs(field: dict, named: str) -> None:
    one, other = (rollout(attempt("cdef", Verdict.FAILED, ((0, 4),))) for _ in range(2))
    found, like = fingerprints([one, one]), fingerprints([one, other])
    assert found == like
    changed = fingerprints([one, replace(other, **field)])
    assert [name for name in found if changed[name] != found[name]] == [named]


def test_a_rollout_has_its_verdicts_score_and_trains_what_was_executed() -> None:
    done = rollout(attempt("cdef", Verdict.FAILED, ((0, 4),)))
    assert done.score == -0.3
    # The program is "ab" + "cdef": c and d ran, e and f did not, the end token always counts.
    assert done.is_trained.tolist() == [True, True, False, False, True]


def test_what_is_shown_of_a_rollout_says_why_it_ended() -> None:
    (shown,) = shown_rollouts([rollout(attempt("cdef", Verdict.FAILED))], BYTES)
    assert (shown["response"], shown["stopped"]) == ("cdef", "end_token")


def test_everything_of_a_program_that_does_not_compile_is_trained() -> None:
    done = rollout(attempt("c(", Verdict.COMPILE_ERROR))
    assert done.score == -1.0
    assert done.is_trained.all()


def test_a_reward_function_is_given_the_program_and_where_the_response_begins() -> None:
    seen: list[Outcome] = []
    made = attempt("cdef", Verdict.FAILED, ((0, 4),))
    rollout(made, lambda outcome, reward: seen.append(outcome))
    (found,) = seen
    assert (found.program, found.response_start) == ("abcdef", 2)
    assert (found.problem, found.result) == (made.problem, made.result)


def test_weights_of_characters_become_weights_of_the_tokens_that_wrote_them() -> None:
    def heavy(outcome: Outcome, reward: RewardConfig) -> Reward:
        return Reward(score=0.5, weights=(Weight(start=1, end=4, value=3.0),))

    done = rollout(attempt("cdef", Verdict.FAILED), heavy)
    assert done.score == 0.5
    assert done.weights.tolist() == [3.0, 3.0, 1.0, 1.0, 1.0]
    batch = make_batch([done], row_buckets=(12,), pad_token=0)
    assert batch.weights[0].tolist() == [1.0] * 6 + [3.0, 3.0, 1.0, 1.0, 1.0, 1.0]
    assert batch.weights.dtype == np.float32


def test_a_sample_that_the_function_gives_no_score_is_dropped() -> None:
    done = rollout(attempt("cdef", Verdict.PASSED, ((0, 6),)), lambda outcome, reward: None)
    assert done.score is None
    batch = make_batch([done], row_buckets=(12,), pad_token=0)
    assert not batch.is_response.any()
    assert not batch.is_executed.any()


def test_rows_are_prompt_response_padding_in_the_shortest_bucket() -> None:
    rollouts = [
        rollout(attempt("cdef", Verdict.PASSED, ((0, 6),))),
        rollout(attempt("c", Verdict.EXECUTOR_ERROR)),
    ]
    batch = make_batch(rollouts, row_buckets=(8, 12, 16), pad_token=0)
    assert batch.tokens.shape == (2, 12)
    assert batch.tokens[0].tolist() == [*b"ask:abcdef", END, 0]
    assert batch.is_response[0].tolist() == [False] * 6 + [True] * 5 + [False]
    assert batch.sampler_logprobs[0, 6:11].tolist() == [-0.5, -1.0, -1.5, -2.0, -2.5]
    # What the executor could not judge keeps its row and takes no part.
    assert not batch.is_response[1].any()
    assert batch.scores.tolist() == [1.0, 0.0]
    assert batch.scores.dtype == np.float32


class InstantSampler:
    """Answers every row with its own number."""

    token_bytes, stop = BYTES, ()

    class settings:  # noqa: N801
        end_token = END

    def generate(self, params, prompts, keys, *, samples, when_decoded):
        for row in reversed(range(len(prompts) * samples)):
            if row == 0:
                when_decoded()
            yield row, Sample(tokens=(48 + row, END), logprobs=(-1.0, -1.0), stopped="end_token")


class InstantClient:
    """Passes even rows; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def submit(self, request: Request) -> Future:
        self.asked.append(request)
        future: Future = Future()
        verdict = Verdict.PASSED if int(request.id) % 2 == 0 else Verdict.FAILED
        future.set_result(
            Result(id=request.id, verdict=verdict, tests=(), covered=((0, 9),), wall_s=0.0)
        )
        return future


def test_attempts_come_back_in_row_order_whatever_order_they_finish_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each look at the clock is a second later than the last.
    clock = SimpleNamespace(monotonic=map(float, itertools.count()).__next__)
    monkeypatch.setattr("stepcoder_jax.worker.time", clock)
    client = InstantClient()
    worker = object.__new__(Worker)
    fields = {
        "sampler": InstantSampler(),
        "client": client,
        "limits": LimitRule(settings=ExecutorSettings(wall_s=1.5)),
    }
    for name, value in {**fields, "check": lambda: None, "fence": lambda _: "none"}.items():
        object.__setattr__(worker, name, value)
    prompts = [Prompt(tokens=(1,), prefix_tokens=0), Prompt(tokens=(2, 97), prefix_tokens=1)]
    seen: list[int] = []
    done = worker.attempt(
        {},
        [PROBLEM] * 2,
        prompts,
        row_keys(jax.random.key(0), 0, 4),
        samples=2,
        coverage=True,
        progress=seen.append,
    )
    assert [a.program.text for a in done.rows] == ["0", "1", "a2", "a3"]
    assert [a.result.verdict.value for a in done.rows] == ["passed", "failed"] * 2
    assert seen == [1, 2, 3, 4]
    assert [r.id for r in client.asked] == ["3", "2", "1", "0"]
    # Three programs were judged, in a second each, while the sampler was still decoding, until
    # second 7; the last was handed over when it had ended.
    assert done.executor_hidden_fraction == 3 / 4
    assert (done.generate_s, done.wait_s) == (7.0, 3.0)
    assert all(r.coverage and r.limits.wall_s == 1.5 for r in client.asked)


def test_the_share_of_the_executors_time_that_generation_hides() -> None:
    # Busy from 0 to 4 and from 6 to 10.
    spans = [(6.0, 10.0), (0.0, 3.0), (1.0, 2.0), (2.0, 4.0)]
    assert share_before(8.0, spans) == 6 / 8
    assert share_before(20.0, spans) == 1.0
    assert share_before(0.0, spans) == 0.0
    assert share_before(1.0, []) is None


def test_a_rows_key_depends_on_its_number_alone() -> None:
    key = jax.random.key(7)
    whole = jax.random.key_data(row_keys(key, 0, 12))
    np.testing.assert_array_equal(jax.random.key_data(row_keys(key, 8, 4)), whole[8:])
    assert len(np.unique(whole, axis=0)) == 12


def test_the_keys_of_a_later_iteration_compile_nothing(caplog: pytest.LogCaptureFixture) -> None:
    key = jax.random.key(7)
    row_keys(key, 0, 13)
    with jax.log_compiles():
        row_keys(key, 13, 13)
    assert not [record for record in caplog.messages if "Compiling" in record]


def test_a_response_longer_than_every_bucket_is_an_error() -> None:
    with pytest.raises(StopIteration):
        make_batch([rollout(attempt("cdef", Verdict.PASSED))], row_buckets=(8,), pad_token=0)
