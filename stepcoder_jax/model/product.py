"""Products of few rows with large matrices, as decoding does them: one reading of every weight.

Most CPUs have no products of bfloat16: XLA widens both operands to float32, every time anew. What
is read again at every token, weights and cache, is therefore *held* as float32 there: :func:`held`
rounds to bfloat16 as ever, and only the room the number takes is larger.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stepcoder_jax.model.few_rows import Products, few_rows_product, suits
from stepcoder_jax.model.platform import current_platform, multiplies_bfloat16

# Up to so many rows, copying the matrix is what takes time.
_FEW_ROWS = 128


def held_dtype(dtype: DTypeLike) -> DTypeLike:
    """The type of arrays that hold numbers of ``dtype`` on the current devices."""
    is_widened = jnp.dtype(dtype) == jnp.bfloat16 and not multiplies_bfloat16()
    return jnp.float32 if is_widened else dtype


def held(x: Float[Array, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """``x`` rounded to ``dtype``, as an array of ``held_dtype(dtype)``."""
    if held_dtype(dtype) == dtype:
        return x.astype(dtype)
    kind = jnp.finfo(dtype)
    # Two conversions would say the same, but XLA may leave out both.
    return jax.lax.reduce_precision(x.astype(held_dtype(dtype)), kind.nexp, kind.nmant)


def product(
    x: Float[Array, "*batch K"],
    kernel: Float[Array, "N K"],
    dtype: DTypeLike,
    products: Products = "xla",
) -> Float[Array, "*batch N"]:
    """X · kernelᵀ, added up in float32 and returned as ``dtype``; kernels may be held wider.

    Args:
      products: what multiplies few rows on a CPU, as ``few_rows.choose_products`` says.
    """
    rows = x.reshape(-1, x.shape[-1]).astype(kernel.dtype)
    contract = (((1,), (1,)), ((), ()))
    if current_platform() != "cpu":
        # Asked for float32, a GPU would write that, and read it again to round it.
        found = jax.lax.dot_general(rows, kernel, contract, preferred_element_type=dtype)
    elif products == "cpp" and suits(kernel, rows):
        found = few_rows_product(kernel, rows).T
    elif rows.shape[0] <= _FEW_ROWS:
        # XLA's matrix product for CPUs copies its second operand into blocks before it begins: let
        # that be the rows. The barrier keeps it from turning the operands round again.
        found = jax.lax.dot_general(kernel, rows, contract, preferred_element_type=jnp.float32)
        found = jax.lax.optimization_barrier(found).T
    else:
        found = jax.lax.dot_general(rows, kernel, contract, preferred_element_type=jnp.float32)
    return found.astype(dtype).reshape(*x.shape[:-1], kernel.shape[0])


class Product(nn.Module):
    """A dense layer whose kernel lies as torch has it: outputs × inputs."""

    features: int
    dtype: DTypeLike
    use_bias: bool = False
    products: Products = "xla"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch K"]) -> Float[Array, "*batch N"]:
        """Multiply, and add the bias."""
        zeros = nn.initializers.zeros
        kernel = self.param("kernel", zeros, (self.features, x.shape[-1]), held_dtype(self.dtype))
        out = product(x, kernel, self.dtype, self.products)
        if not self.use_bias:
            return out
        bias = self.param("bias", zeros, (self.features,), held_dtype(self.dtype))
        return (out + jnp.broadcast_to(bias, out.shape)).astype(self.dtype)
