"""What a program may use while it is tested: the recipe's limits, and CPU time by its problem."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepcoder_executor import Limits

from stepcoder_jax.config import ExecutorSettings
from stepcoder_jax.problem import Problem


@dataclass(frozen=True, kw_only=True)
class LimitRule:
    """The limits of every problem.

    Attributes:
      reference_s: problem id -> seconds that the slowest test took the canonical solution; a
        problem that is not named has no limit of CPU time, only one of wall-clock time.
    """

    settings: ExecutorSettings
    reference_s: Mapping[str, float] = field(default_factory=dict)

    def of(self, problem: Problem) -> Limits:
        """Limits of one test of a program that answers ``problem``."""
        settings = self.settings
        known = self.reference_s.get(problem.id)
        return Limits(
            wall_s=settings.wall_s,
            cpu_s=None if known is None else max(settings.cpu_s, settings.cpu_factor * known),
            memory_mb=settings.memory_mb,
            output_kb=settings.output_kb,
        )
