"""The host loop of one batch of experience: prompts, samples, execution, arrays for the learner."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Key, PRNGKeyArray
from stepcoder_executor import Executor, Request, Result

from stepcoder_jax.config import FGOConfig
from stepcoder_jax.coverage_mask import mark_executed, mark_trained
from stepcoder_jax.extract import Fence
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.program import Program, assemble
from stepcoder_jax.reward_function import Judge, token_weights
from stepcoder_jax.rewards import Outcome
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.types import Params, Problem, Prompt, RolloutBatch, Sample


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One sampled program and what the executor said of it."""

    problem: Problem
    prompt: Prompt
    sample: Sample
    program: Program
    result: Result

    @property
    def outcome(self) -> Outcome:
        """What a reward function is given."""
        spans = self.program.token_spans
        return Outcome(
            problem=self.problem,
            program=self.program.text,
            response_start=int(spans[0, 0]) if len(spans) else len(self.program.text),
            result=self.result,
        )


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """An attempt made ready for the learner.

    Attributes:
      problem_index: row of the training set.
      stage: curriculum stage of its prompt; 0 is ordinary generation.
      moves_stage: whether its group counts for the curriculum (``curriculum.mix``).
      score: of the reward function; None when the executor itself failed, or the function says so.
      is_trained: one bool a response token: those that the policy loss counts (FGO).
      weights: one a response token: what it counts there.
    """

    attempt: Attempt
    problem_index: int
    stage: int
    moves_stage: bool
    score: float | None
    is_trained: Bool[np.ndarray, " R"]
    weights: Float32[np.ndarray, " R"]


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """All attempts of one call, in row order, and where the time went.

    Attributes:
      generate_s: wall time until the last row had been sampled.
      wait_s: wall time after that until the last program had been judged.
      executor_hidden_fraction: share of the time in which the executor had work that passed while
        rows were still being decoded; None without work.
    """

    rows: tuple[Attempt, ...]
    generate_s: float
    wait_s: float
    executor_hidden_fraction: float | None


@dataclass(kw_only=True)
class _Pending:
    """A program that the executor has; ``submitted`` and ``judged`` are monotonic times."""

    problem: Problem
    prompt: Prompt
    sample: Sample
    program: Program
    submitted: float
    future: Future[Result]
    judged: float | None = None

    def note_time(self, _: Future[Result]) -> None:
        """The result is there."""
        self.judged = time.monotonic()

    def attempt(self) -> Attempt:
        """Waits for the result."""
        return Attempt(
            problem=self.problem,
            prompt=self.prompt,
            sample=self.sample,
            program=self.program,
            result=self.future.result(),
        )


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Samples programs and has them executed while other rows are still being decoded.

    Attributes:
      check: called between pieces of work; raises to abandon the call (a stop request).
      fence: where in the response to a prompt the program is.
    """

    sampler: Sampler
    client: Executor
    limits: LimitRule
    check: Callable[[], None]
    fence: Callable[[Prompt], Fence]

    def attempt(
        self,
        params: Params,
        problems: Sequence[Problem],
        prompts: Sequence[Prompt],
        keys: Key[Array, " B"],
        *,
        samples: int,
        coverage: bool,
        progress: Callable[[int], None],
    ) -> Attempts:
        """Samples each prompt ``samples`` times and judges every program.

        Args:
          params: the policy's, arranged for serving.
          problems: one a prompt.
          keys: one a row; the rows of a prompt are adjacent.
          coverage: whether to ask for executed spans.
          progress: told how many responses have been sampled.

        Raises:
          ExecutorDied: the executor could not be kept alive; nothing is scored then.
        """
        started = time.monotonic()
        pending: dict[int, _Pending] = {}
        for row, sample in self.sampler.generate(params, prompts, keys, samples=samples):
            self.check()
            prompt, problem = prompts[row // samples], problems[row // samples]
            pending[row] = self._submit(row, problem, prompt, sample, coverage)
            progress(len(pending))
        generated = time.monotonic()
        rows = []
        for row in sorted(pending):
            rows.append(pending[row].attempt())
            self.check()
        ended = time.monotonic()
        # The last result can be here before what is called with it.
        spans = [(one.submitted, one.judged or ended) for one in pending.values()]
        return Attempts(
            rows=tuple(rows),
            generate_s=generated - started,
            wait_s=ended - generated,
            executor_hidden_fraction=share_before(generated, spans),
        )

    def _submit(
        self, row: int, problem: Problem, prompt: Prompt, sample: Sample, coverage: bool
    ) -> _Pending:
        program = self.program_of(prompt, sample)
        request = Request(
            id=f"{row}",
            source=program.text,
            tests=problem.tests,
            limits=self.limits.of(problem),
            coverage=coverage,
        )
        one = _Pending(
            problem=problem,
            prompt=prompt,
            sample=sample,
            program=program,
            submitted=time.monotonic(),
            future=self.client.submit(request),
        )
        one.future.add_done_callback(one.note_time)
        return one

    def program_of(self, prompt: Prompt, sample: Sample) -> Program:
        """The program that a response makes, as it is executed."""
        return assemble(
            self.sampler.token_bytes,
            prompt.prefix,
            sample.tokens,
            stop=self.sampler.stop,
            end_token=self.sampler.settings.end_token,
            fence=self.fence(prompt),
        )


def share_before(moment: float, spans: Sequence[tuple[float, float]]) -> float | None:
    """Share of the time that any of the spans covers that lies before a moment; None of none."""
    covered = before = 0.0
    reached = -math.inf
    for begin, end in sorted(spans):
        begin = max(begin, reached)
        if end > begin:
            covered += end - begin
            before += max(min(end, moment) - begin, 0.0)
            reached = end
    return before / covered if covered else None


def row_keys(seed_key: PRNGKeyArray, first: int, count: int) -> Key[Array, " B"]:
    """Keys of rows ``first`` … ``first + count - 1`` of a run: each row has its own, for ever."""
    return jax.vmap(lambda i: jax.random.fold_in(seed_key, i))(jnp.arange(first, first + count))


def make_rollout(
    attempt: Attempt,
    *,
    problem_index: int,
    stage: int,
    moves_stage: bool,
    judge: Judge,
    fgo: FGOConfig,
    rng: np.random.Generator,
) -> Rollout:
    """Scores an attempt, masks its tokens and weighs them."""
    program = attempt.program
    executed = mark_executed(
        program.text,
        attempt.result.covered or (),
        program.token_spans,
        program.is_end,
        attempt.result.verdict,
        fgo,
    )
    reward = judge(attempt.outcome)
    weights = () if reward is None else reward.weights
    return Rollout(
        attempt=attempt,
        problem_index=problem_index,
        stage=stage,
        moves_stage=moves_stage,
        score=None if reward is None else reward.score,
        is_trained=mark_trained(executed, fgo, rng),
        weights=token_weights(weights, len(program.text), program.token_spans),
    )


def make_batch(
    rollouts: Sequence[Rollout], *, row_buckets: Sequence[int], pad_token: int
) -> RolloutBatch:
    """Packs rollouts into right-padded rows of the shortest bucket that holds them all.

    A rollout without a score keeps its row, with nothing True in its masks: dropped, never scored.
    """
    longest = max(len(r.attempt.prompt.tokens) + len(r.attempt.sample.tokens) for r in rollouts)
    width = next(bucket for bucket in row_buckets if bucket >= longest)
    shape = (len(rollouts), width)
    tokens = np.full(shape, pad_token, np.int32)
    is_response, executed = np.zeros(shape, bool), np.zeros(shape, bool)
    logprobs, weights = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    scores = np.zeros(len(rollouts), np.float32)
    for row, rollout in enumerate(rollouts):
        prompt, sample = rollout.attempt.prompt, rollout.attempt.sample
        first = len(prompt.tokens)
        inside = slice(first, first + len(sample.tokens))
        tokens[row, :first] = prompt.tokens
        tokens[row, inside] = sample.tokens
        logprobs[row, inside] = sample.logprobs
        if rollout.score is not None:
            is_response[row, inside] = True
            executed[row, inside] = rollout.is_trained
            weights[row, inside] = rollout.weights
            scores[row] = rollout.score
    return RolloutBatch(
        tokens=jnp.asarray(tokens),
        is_response=jnp.asarray(is_response),
        is_executed=jnp.asarray(executed),
        weights=jnp.asarray(weights),
        scores=jnp.asarray(scores),
        sampler_logprobs=jnp.asarray(logprobs),
    )
