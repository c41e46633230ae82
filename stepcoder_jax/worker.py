"""Samples programs and has them executed: a batch of attempts, and where the time went."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PRNGKeyArray
from stepcoder_executor import Executor, Request, Result

from stepcoder_jax.extract import Fence
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.program import Program, assemble
from stepcoder_jax.rewards import Outcome
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.types import Params, Problem, Prompt, Sample


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
