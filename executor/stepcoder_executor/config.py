"""How programs are to be run: what every executor is told at its start."""

import os
from dataclasses import dataclass
from typing import Literal, get_args

from stepcoder_executor.judge import CompareRule

Isolation = Literal["required", "best", "full", "landlock", "seccomp", "none"]


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """How to run programs.

    slots: programs at a time; 0 means one for each usable CPU. On a Ray cluster: on each node,
        where 0 means one for each CPU that is free.
    isolation: ``required`` refuses to start where files and the network cannot be kept out of
        reach, ``best`` takes the highest rung the machine offers; ``full``, ``landlock``,
        ``seccomp`` and ``none`` (resource limits only) are single rungs.
    compare: the comparison rule of expected and produced outputs.
    run_all: go on after a test that did not pass.
    max_pending: ``submit`` blocks while this many requests are unanswered.
    """

    slots: int = 0
    isolation: Isolation = "best"
    compare: CompareRule = "strict"
    run_all: bool = False
    max_pending: int = 4096

    def __post_init__(self) -> None:
        choices = {"isolation": get_args(Isolation), "compare": get_args(CompareRule)}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {allowed}")
        for name, least in (("slots", 0), ("max_pending", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {least} or more")

    @property
    def n_slots(self) -> int:
        """The number of slots on this machine, with 0 resolved."""
        return self.slots or len(os.sched_getaffinity(0))
