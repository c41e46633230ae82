"""Samples programs and has them executed: a batch of attempts, and where the time went."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray
from stepcoder_executor import Executor, Request, Result, parse_result, result_to_json

from stepcoder_jax.extract import Fence
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.processes import is_alone, is_own, share
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


@dataclass(frozen=True, kw_only=True)
class _Sampled:
    """A program that is to be judged."""

    problem: Problem
    prompt: Prompt
    sample: Sample
    program: Program

    def judged(self, result: Result) -> Attempt:
        """What became of it."""
        return Attempt(
            problem=self.problem,
            prompt=self.prompt,
            sample=self.sample,
            program=self.program,
            result=result,
        )


@dataclass(kw_only=True)
class _Pending:
    """A program that the executor has; ``submitted`` and ``judged`` are monotonic times."""

    submitted: float
    future: Future[Result]
    judged: float | None = None

    def note_time(self, _: Future[Result]) -> None:
        """The result is there."""
        self.judged = time.monotonic()


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Samples programs and has them executed while other rows are still being decoded.

    Several processes sample the same rows together; each has its share of the programs executed by
    an executor of its own, and learns the other results when the last is there.

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
        started = generated = time.monotonic()

        def when_decoded() -> None:
            nonlocal generated
            generated = time.monotonic()

        sampled: dict[int, _Sampled] = {}
        pending: dict[int, _Pending] = {}
        for row, sample in self.sampler.generate(
            params, prompts, keys, samples=samples, when_decoded=when_decoded
        ):
            self.check()
            prompt, problem = prompts[row // samples], problems[row // samples]
            program = self.program_of(prompt, sample)
            sampled[row] = _Sampled(problem=problem, prompt=prompt, sample=sample, program=program)
            if is_own(row):
                pending[row] = self._submit(row, sampled[row], coverage)
            progress(len(sampled))
        results = self._results(pending)
        rows = [sampled[row].judged(results[row]) for row in sorted(sampled)]
        ended = time.monotonic()
        # The last result can be here before what is called with it.
        spans = [(one.submitted, one.judged or ended) for one in pending.values()]
        return Attempts(
            rows=tuple(rows),
            generate_s=generated - started,
            wait_s=ended - generated,
            executor_hidden_fraction=share_before(generated, spans),
        )

    def _results(self, pending: Mapping[int, _Pending]) -> dict[int, Result]:
        """Of every row, once the executors of all processes are done."""
        if is_alone():
            return dict(self._own_results(pending))
        parts = share(
            lambda: [(row, result_to_json(result)) for row, result in self._own_results(pending)]
        )
        return {row: parse_result(result) for part in parts for row, result in part}

    def _own_results(self, pending: Mapping[int, _Pending]) -> Iterator[tuple[int, Result]]:
        for row in sorted(pending):
            yield row, pending[row].future.result()
            # Others wait for as many results as they have: only alone is this the same place.
            if is_alone():
                self.check()

    def _submit(self, row: int, sampled: _Sampled, coverage: bool) -> _Pending:
        request = Request(
            id=f"{row}",
            source=sampled.program.text,
            tests=sampled.problem.tests,
            limits=self.limits.of(sampled.problem),
            coverage=coverage,
        )
        one = _Pending(submitted=time.monotonic(), future=self.client.submit(request))
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
    # The host adds: on the device 0 is not added, and the second iteration would compile it.
    numbers = jnp.asarray(np.arange(first, first + count, dtype=np.uint32))
    return jax.vmap(lambda i: jax.random.fold_in(seed_key, i))(numbers)
