"""How many CPU cores the executor needs so that generation hides it: one queue a host, simulated.

    python launch/executor_demand.py configs/plan/smollm2_135m.yaml v5e:1x1 v5e:2x2 v5e:4x4

The recipe's slots are those of one chip. Steps take what the planner's roofline gives at best, so
rollouts come as fast as they ever can; what a program costs was measured. What the figures mean:
docs/executor_demand.md.
"""

import argparse
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.model.load import ModelLoadError
from stepcoder_jax.plan.plan import make_plan
from stepcoder_jax.plan.topology import find_topology
from stepcoder_jax.recipe import load_config

CHIPS_PER_HOST = {"tpu": 4, "gpu": 8}
# Hosts are alike: the slowest of these stands for all.
HOSTS_LOOKED_AT = 16
# Deciles of the time that a program of the executor's benchmark takes, over their mean: measured
# with coverage, the least of five times of each of 100 programs.
SHAPE = (0.65, 0.72, 0.84, 0.94, 0.98, 1.05, 1.12, 1.16, 1.23, 1.35)


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What programs cost.

    Attributes:
      cpu_s: CPU time of one in the mean, everything included (executor/README.md, with coverage).
      timeouts: share of those that do not end by themselves.
      timeout_s: CPU time at which they are ended.
    """

    cpu_s: float
    timeouts: float
    timeout_s: float

    @property
    def mean_s(self) -> float:
        """CPU time of one in the mean, those that are ended included."""
        return (1 - self.timeouts) * self.cpu_s + self.timeouts * self.timeout_s

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Seconds of ``count`` programs."""
        middles = (np.arange(len(SHAPE)) + 0.5) / len(SHAPE)
        short = np.interp(rng.random(count), middles, SHAPE) * self.cpu_s
        return np.where(rng.random(count) < self.timeouts, self.timeout_s, short)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A host's share of generation.

    Attributes:
      rows: rollouts of an iteration.
      slots: rows decoded together; one that has ended makes room for the next.
      step_s: of one token of every slot.
      chunk_tokens: steps between two looks at what has ended.
      mean_tokens, max_tokens: responses end with the same probability at every token, at last here.
    """

    rows: int
    slots: int
    step_s: float
    chunk_tokens: int
    mean_tokens: float
    max_tokens: int

    @property
    def full_rate(self) -> float:
        """Rollouts a second while no slot is empty."""
        # Those that are cut at max_tokens make the mean shorter.
        cut_mean = self.mean_tokens * -math.expm1(
            self.max_tokens * math.log1p(-1 / self.mean_tokens)
        )
        return self.slots / (self.step_s * cut_mean)

    def arrivals(self, rng: np.random.Generator) -> np.ndarray:
        """When each rollout goes to the executor, ascending: in bursts, at the ends of chunks."""
        lengths = np.minimum(rng.geometric(1 / self.mean_tokens, self.rows), self.max_tokens)
        chunks = np.ceil(lengths / self.chunk_tokens).astype(int)
        ends = [0] * min(self.slots, self.rows)
        arrivals = [heapq.heapreplace(ends, ends[0] + row) + row for row in chunks.tolist()]
        return np.sort(arrivals) * (self.chunk_tokens * self.step_s)


def waits(arrivals: np.ndarray, services: np.ndarray, cores: int) -> np.ndarray:
    """Seconds that each program waits for a core, first come first served."""
    free = [0.0] * cores
    starts = []
    for arrival, service in zip(arrivals.tolist(), services.tolist(), strict=True):
        start = max(arrival, free[0])
        heapq.heapreplace(free, start + service)
        starts.append(start)
    return np.array(starts) - arrivals


@dataclass(frozen=True, kw_only=True)
class Load:
    """Programs of one host in one iteration: when they come, ascending, and what they cost."""

    arrivals: np.ndarray
    services: np.ndarray

    def late(self, cores: int) -> float:
        """Seconds that the last result comes later than with a core for every program."""
        done = self.arrivals + self.services
        return float((done + waits(self.arrivals, self.services, cores)).max() - done.max())


def cores_to_hide(loads: Sequence[Load], share: float) -> int:
    """The fewest cores a host with which no result is late by ``share`` of generation's time."""

    def hides(cores: int) -> bool:
        return all(load.late(cores) <= share * load.arrivals[-1] for load in loads)

    most = 1
    while not hides(most):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if hides(middle) else (middle, most)
    return most


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a host needs. ``wait_s``: 95 of 100 programs wait less for a core."""

    cores: int
    wait_s: float
    rollouts_per_s: float


def demand(engine: Engine, programs: Programs, hosts: int, late_share: float) -> Demand:
    """Of the slowest of some hosts that generate alike."""
    rng = np.random.default_rng(0)
    loads = [
        Load(arrivals=engine.arrivals(rng), services=programs.draw(engine.rows, rng))
        for _ in range(hosts)
    ]
    cores = cores_to_hide(loads, late_share)
    waited = np.concatenate([waits(load.arrivals, load.services, cores) for load in loads])
    return Demand(
        cores=cores,
        wait_s=float(np.percentile(waited, 95)),
        rollouts_per_s=float(np.mean([engine.rows / load.arrivals[-1] for load in loads])),
    )


def engine_of(
    config: RunConfig, topology: str, rows_per_slot: int, mean_tokens: float
) -> tuple[Engine, int, int]:
    """A host's engine, the number of chips and that of hosts."""
    alone = config.sampling.slots
    found = find_topology(topology, compiles=False)
    chips = math.prod(found.shape)
    sampling = replace(config.sampling, slots=alone * chips)
    # As many rollouts as it takes to fill them.
    problems = max(config.rollout.problems, math.ceil(sampling.slots / config.rollout.samples))
    # Decoding reads the cache alike with every back end, and this one is planned for everywhere.
    model = replace(config.model, attention="xla")
    result = make_plan(
        replace(
            config,
            sampling=sampling,
            model=model,
            rollout=replace(config.rollout, problems=problems),
        ),
        topology,
        programs=("decode",),
        compiles=False,
    )
    here = min(chips, CHIPS_PER_HOST[found.chip.platform])
    engine = Engine(
        rows=alone * here * rows_per_slot,
        slots=alone * here,
        step_s=result["programs"][0]["least_s"],
        chunk_tokens=sampling.chunk_tokens,
        mean_tokens=mean_tokens,
        max_tokens=sampling.max_new_tokens,
    )
    return engine, chips, chips // here


HEAD = (
    "chips",
    "hosts",
    "ms a step",
    "rollouts/s, all",
    "cores busy a host: in the mean",
    "while all slots are full",
    "cores a host",
    "p95 wait, ms",
    "with timeouts: cores a host",
    "p95 wait, ms",
    "cores, all",
)


def table(options: argparse.Namespace) -> Iterator[str]:
    """Markdown, a line a topology."""
    config = load_config(options.config)
    costs = [
        Programs(cpu_s=options.cpu_ms / 1e3, timeouts=share, timeout_s=options.timeout_s)
        for share in (0.0, options.timeouts)
    ]
    yield "| " + " | ".join(HEAD) + " |"
    yield "|" + "---|" * len(HEAD)
    if options.model is not None:
        config = replace(config, model=replace(config.model, path=options.model))
    for topology in options.topology:
        engine, chips, hosts = engine_of(
            config, topology, options.rows_per_slot, options.mean_tokens
        )
        few, many = (
            demand(engine, cost, min(hosts, HOSTS_LOOKED_AT), options.share) for cost in costs
        )
        cells = (
            str(chips),
            str(hosts),
            f"{engine.step_s * 1e3:.2f}",
            f"{few.rollouts_per_s * hosts:,.0f}",
            f"{few.rollouts_per_s * costs[0].mean_s:.1f}",
            f"{engine.full_rate * costs[0].mean_s:.1f}",
            str(few.cores),
            f"{few.wait_s * 1e3:.0f}",
            str(many.cores),
            f"{many.wait_s * 1e3:.0f}",
            str(many.cores * hosts),
        )
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path, help="a recipe: slots and prompt length of one chip")
    parser.add_argument("topology", nargs="+", help="as `stepcoder plan --topology` takes it")
    parser.add_argument("--model", type=Path, help="folder with its config.json, if not here")
    add = parser.add_argument
    add("--rows-per-slot", type=_positive, default=4, help="rollouts of an iteration")
    add("--mean-tokens", type=_more_than(1), default=58, help="of a response")
    add("--cpu-ms", type=_more_than(0), default=6.73, help="of a program")
    add("--timeouts", type=_share, default=0.02, help="share, in the second case")
    add("--timeout-s", type=_more_than(0), default=0.5, help="CPU time of such a program")
    add("--share", type=_share, default=0.01, help="of generation's time that results may be late")
    try:
        for line in table(parser.parse_args()):
            print(line)
    except (ConfigError, ModelLoadError) as error:
        parser.error(str(error))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number above 0")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _more_than(least: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not least < _number(text) < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r}: a number above {least}")
        return float(text)

    return number


def _share(text: str) -> float:
    if not 0 <= _number(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a share, in [0, 1)")
    return float(text)


if __name__ == "__main__":
    main()
