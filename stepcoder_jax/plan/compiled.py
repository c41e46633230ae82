"""The trainer's programs compiled for a machine that is not here."""

import re
from dataclasses import dataclass
from typing import Any

from jax.errors import JaxRuntimeError

from stepcoder_jax.plan.blueprint import Blueprint
from stepcoder_jax.plan.programs import Program, arranging

# What the compiler says of a program that is too large.
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class TooLarge:
    """The compiler found no way to run a program in the memory there is.

    Attributes:
      needed_bytes: for this program alone; None where the compiler does not say.
    """

    needed_bytes: int | None
    message: str


def compile_program(program: Program) -> Any:
    """A ``jax.stages.Compiled``, or ``TooLarge``: under the mesh (``jax.set_mesh``).

    Raises:
      JaxRuntimeError: the compiler fails otherwise.
    """
    lowered = program.function.lower(*program.arguments, **program.static, **program.arrays)
    try:
        return lowered.compile()
    except JaxRuntimeError as error:
        message = str(error)
        if "RESOURCE_EXHAUSTED" not in message:
            raise
        used = _USED.search(message)
        needed = int(float(used[1]) * _UNITS[used[2]]) if used else None
        return TooLarge(needed_bytes=needed, message=message.splitlines()[0])


def with_arranged_weights(plan: Blueprint) -> Blueprint:
    """The plan, with weights for generation where the compiled rearrangement leaves them."""
    arranged = compile_program(arranging(plan))
    return plan if isinstance(arranged, TooLarge) else plan.with_served(arranged.output_shardings)
