"""Samples of any model, judged by our executor: needs no JAX."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepcoder_executor import Executor, Request, Result, Verdict

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.sources import load_problems
from stepcoder_jax.eval_record import (
    conditions,
    file_hashes,
    make_place,
    preflight,
    verdict_row,
    write_record,
)
from stepcoder_jax.executor_session import executor
from stepcoder_jax.extract import Fence, extract
from stepcoder_jax.limits import LimitRule
from stepcoder_jax.problem import Problem
from stepcoder_jax.progress import Display, Meter
from stepcoder_jax.samples_file import Samples, read_samples
from stepcoder_jax.scorecard import markdown_row, tally
from stepcoder_jax.some_names import some_names
from stepcoder_jax.stop import StopRequest, stop_on_signals

_CODE_FENCE = re.compile(r"^```", re.MULTILINE)
# Those that papers report; of them, by default, those that every problem has samples for.
_USUAL_K = (1, 10, 100)


def score_samples(
    path: Path,
    problems_name: str,
    *,
    config: RunConfig,
    k: Sequence[int] | None,
    count: int | None,
    fence: Fence,
    out: Path | None,
) -> dict[str, Any]:
    """Judges every program of a samples file.

    Args:
      config: its limits and its executor; nothing else of it matters.
      k: which pass@k; None: 1, 10 and 100 as far as every problem that has samples has as many.
      count: take only the first problems.
      fence: how a program is found in the text of a sample; ``none`` takes it as it is.
      out: where to write the record; None: nowhere.

    Returns:
      The contract's fields; ``missing`` (problems without samples, which count as not solved),
      ``unknown_ids`` and ``bad_lines`` of the file; ``preflight``; ``markdown``.

    Raises:
      ProblemError, SamplesError: what is wrong with either file.
      ConfigError: ``k`` is more than a problem has samples.
    """
    make_place("--out", out)
    data = config.data
    problems = load_problems(
        problems_name, manual_dir=data.manual_dir, data_dir=data.data_dir, count=count
    )
    samples = read_samples(path, problems)
    ks = _choose_k(k, samples)
    display = Display()
    for line in report(samples, fence):
        display.say(line)
    with stop_on_signals() as stop, executor(config.executor) as client:
        checked = preflight(problems, client, config.executor)
        for line in checked.lines():
            display.say(line)
        rows = [
            (problem, extract(program, fence))
            for problem in checked.problems
            for program in samples.programs.get(problem.id, ())
        ]
        display.say(f"{len(rows)} programs  ·  executor isolation: {client.isolation}")
        with display.phase("score", len(rows)) as meter:
            results = judge(rows, client, LimitRule(settings=config.executor), stop, meter)
        facts = conditions(config, problems, client)
    card = tally(checked.problems, _by_problem(rows, results), ks)
    found = {
        "samples_file": str(path),
        "problems_from": problems_name,
        **card.to_json(),
        "missing": [i for i in samples.missing if i not in checked.failed],
        "unknown_ids": samples.unknown,
        "bad_lines": list(samples.bad_lines),
        "preflight": checked.to_json(),
        "markdown": markdown_row(f"{path.name} on {problems_name}", card),
    }
    if out is not None:
        programs = [verdict_row(p.id, r) for (p, _), r in zip(rows, results, strict=True)]
        sources = {"samples_sha256": file_hashes(path)[path.name], "fence": fence, "k": list(ks)}
        write_record(out, {**found, **facts, **sources, "programs": programs})
    return found


def report(samples: Samples, fence: Fence) -> list[str]:
    """What a person must know of a file before its figures: one line a kind of fault."""
    said = []
    fenced = sum(
        bool(_CODE_FENCE.search(text)) for texts in samples.programs.values() for text in texts
    )
    if fenced and fence == "none":
        said.append(
            f"{fenced} samples hold a code fence and are run as they are; --extract takes the"
            " program out of it"
        )
    if samples.bad_lines:
        said.append(
            f"{len(samples.bad_lines)} bad lines, passed over: {some_names(samples.bad_lines)}"
        )
    if samples.unknown:
        lines = sum(samples.unknown.values())
        said.append(
            f"{lines} lines of problems that are not in the set: {some_names(samples.unknown)}"
        )
    if samples.missing:
        missing = some_names(samples.missing)
        said.append(f"{len(samples.missing)} problems have no sample, not solved: {missing}")
    return said


def judge(
    rows: Sequence[tuple[Problem, str]],
    client: Executor,
    rule: LimitRule,
    stop: StopRequest,
    meter: Meter,
) -> list[Result]:
    """Results of (problem, program) pairs, in their order."""
    requests = (
        Request(id=f"{i}", source=program, tests=problem.tests, limits=rule.of(problem))
        for i, (problem, program) in enumerate(rows)
    )
    found: dict[int, Result] = {}
    for result in client.run(requests):
        stop.check()
        found[int(result.id)] = result
        meter(len(found), {})
    return [found[i] for i in range(len(rows))]


def _by_problem(
    rows: Sequence[tuple[Problem, str]], results: Sequence[Result]
) -> Mapping[str, list[Verdict]]:
    verdicts: dict[str, list[Verdict]] = {}
    for (problem, _), result in zip(rows, results, strict=True):
        verdicts.setdefault(problem.id, []).append(result.verdict)
    return verdicts


def _choose_k(wanted: Sequence[int] | None, samples: Samples) -> tuple[int, ...]:
    fewest = min(samples.programs, key=lambda i: len(samples.programs[i]))
    most = len(samples.programs[fewest])
    if wanted is None:
        return tuple(k for k in _USUAL_K if k <= most)
    if max(wanted) > most:
        raise ConfigError(f"--k {max(wanted)}: {fewest} has {most} samples; k can be at most that")
    return tuple(wanted)
