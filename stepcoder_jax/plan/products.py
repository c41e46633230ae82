"""Operations of matrix products: as a traced program asks for them, and as a compiled one does."""

import math
import re
from dataclasses import dataclass
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

from stepcoder_jax.plan.hlo import Instruction, Module, dimensions


@dataclass(frozen=True, kw_only=True)
class Products:
    """Floating-point operations of one call.

    Attributes:
      flops: on all devices together, kernels included.
      kernel_flops: of these, what is inside of kernels on one device: the compiled program's text
        does not show them.
    """

    flops: float
    kernel_flops: float

    def __add__(self, other: "Products") -> "Products":
        return Products(
            flops=self.flops + other.flops, kernel_flops=self.kernel_flops + other.kernel_flops
        )

    def __mul__(self, times: float) -> "Products":
        return Products(flops=self.flops * times, kernel_flops=self.kernel_flops * times)


_NONE = Products(flops=0.0, kernel_flops=0.0)


def traced_products(jaxpr: Jaxpr, devices: int) -> Products:
    """Counts them in a traced program: scans in full, a loop without a known end once.

    A kernel counts as if its causal mask skipped nothing.
    """
    return sum((_of_equation(equation, devices) for equation in jaxpr.eqns), start=_NONE)


def _of_equation(equation: Any, devices: int) -> Products:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        ((contracted, _), _) = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        size = math.prod(equation.outvars[0].aval.shape)
        flops = 2.0 * size * math.prod(left[axis] for axis in contracted)
        return Products(flops=flops, kernel_flops=0.0)
    inner = [traced_products(j, devices) for value in params.values() for j in _jaxprs(value)]
    if name == "cond":
        return max(inner, key=lambda products: products.flops, default=_NONE)
    total = sum(inner, start=_NONE)
    if name == "scan":
        return total * params["length"]
    if name == "pallas_call":
        flops = total.flops * math.prod(params["grid_mapping"].grid)
        return Products(flops=flops, kernel_flops=flops)
    if name == "shard_map":
        return Products(flops=total.flops * devices, kernel_flops=total.kernel_flops)
    return total


def _jaxprs(value: Any) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    if isinstance(value, tuple | list):
        return [jaxpr for part in value for jaxpr in _jaxprs(part)]
    return []


_LABELS = re.compile(r"dim_labels=\w+_(\w+)->")
_WINDOW = re.compile(r"window=\{([^}]*)\}")
_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")


def compiled_products(module: Module) -> float:
    """Operations of one call on one device, as the compiler arranged them; no kernels."""
    return sum(
        count * _of_instruction(i, module.computations[name])
        for name, count, _ in module.runs()
        for i in module.computations[name].values()
    )


def _of_instruction(instruction: Instruction, inside: Any) -> float:
    if instruction.opcode == "dot":
        left = dimensions(inside[instruction.operands[0]].type)
        found = _CONTRACTED.search(instruction.attributes)
        axes = [int(axis) for axis in found[1].split(",") if axis] if found else []
        return 2.0 * math.prod(dimensions(instruction.type)) * math.prod(left[a] for a in axes)
    if instruction.opcode != "convolution":
        return 0.0
    # TPUs write every product as a convolution.
    labels = _LABELS.search(instruction.attributes)
    assert labels is not None, instruction
    right = dimensions(inside[instruction.operands[1]].type)
    inputs = right[labels[1].index("i")]
    return 2.0 * math.prod(dimensions(instruction.type)) * inputs * _summed(instruction.attributes)


def _summed(attributes: str) -> int:
    """Places of the window that are added up: of an axis that is an outer product, one."""
    window = _WINDOW.search(attributes)
    if window is None:
        return 1
    fields = dict(part.split("=") for part in window[1].split())
    sizes = [int(size) for size in fields["size"].split("x")]
    pads = fields.get("pad", "x".join(["0_0"] * len(sizes))).split("x")
    dilated = fields.get("lhs_dilate", "x".join(["1"] * len(sizes))).split("x")
    axes = zip(sizes, pads, dilated, strict=True)
    return math.prod(size for size, pad, by in axes if pad == "0_0" and by == "1")
