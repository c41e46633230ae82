"""The kernel in C++ is the product, for each row by itself; and it is taken where it is to be."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.config import ConfigError
from stepcoder_jax.model import few_rows
from stepcoder_jax.model.few_rows import (
    few_rows_product,
    products_caution,
    resolved_products,
    suits,
)
from stepcoder_jax.model.product import product

compiled = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
PAST_A_THREAD = (3001, 96)  # so many products that other threads are woken


def drawn(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def is_product(found: jax.Array, kernel: jax.Array, x: jax.Array) -> bool:
    """Within the bound of a sum in float32, in any order: a rounding for every input."""
    exact = np.asarray(kernel, np.float64) @ np.asarray(x, np.float64).T
    sizes = np.abs(np.asarray(kernel, np.float64)) @ np.abs(np.asarray(x, np.float64)).T
    return bool((np.abs(found - exact) <= kernel.shape[1] * 2.0**-24 * sizes).all())


@compiled
@pytest.mark.parametrize("rows", [1, 3, 16, 17, 32, 47, 64, 130])
@pytest.mark.parametrize(
    "shape", [(1, 1), (7, 16), (8, 15), (9, 33), (100, 64), (33, 1100), PAST_A_THREAD]
)
def test_it_is_the_product_within_what_sums_in_float32_round(
    shape: tuple[int, int], rows: int
) -> None:
    kernel, x = drawn(*shape), drawn(rows, shape[1], seed=1)
    found = few_rows_product(kernel, x)
    assert found.shape == (shape[0], rows)
    assert found.dtype == jnp.float32
    assert is_product(found, kernel, x)


@compiled
def test_a_row_depends_on_itself_alone_to_the_last_bit() -> None:
    kernel, x = drawn(*PAST_A_THREAD), drawn(50, PAST_A_THREAD[1], seed=1)
    together = few_rows_product(kernel, x)
    for row in (0, 15, 16, 48, 49):
        alone = few_rows_product(kernel, x[row : row + 1])
        np.testing.assert_array_equal(together[:, row], alone[:, 0])
    turned = few_rows_product(kernel, x[::-1])
    np.testing.assert_array_equal(together, turned[:, ::-1])


@compiled
def test_an_output_does_not_depend_on_how_they_are_shared_out() -> None:
    kernel, x = drawn(*PAST_A_THREAD), drawn(9, PAST_A_THREAD[1], seed=1)
    together = few_rows_product(kernel, x)
    for begin, end in ((0, 1), (5, 300), (2990, 3001)):
        np.testing.assert_array_equal(together[begin:end], few_rows_product(kernel[begin:end], x))


@compiled
def test_numbers_that_are_not_finite_stay_in_their_rows_and_outputs() -> None:
    kernel, x = drawn(40, 20).at[3, 5].set(jnp.inf), drawn(5, 20, seed=1)
    x = x.at[2, 7].set(jnp.nan).at[4, 5].set(0.0)
    found = np.asarray(few_rows_product(kernel, x))
    assert np.isnan(found[:, 2]).all()
    assert np.isnan(found[3, 4])  # ∞ · 0
    assert np.isinf(found[3, [0, 1, 3]]).all()
    others = np.delete(np.delete(found, 3, axis=0), 2, axis=1)
    assert np.isfinite(others).all()


@compiled
def test_calls_at_the_same_time_do_not_disturb_each_other() -> None:
    kernels = [drawn(*PAST_A_THREAD, seed=seed) for seed in range(4)]
    x = drawn(16, PAST_A_THREAD[1], seed=9)
    chain = jax.jit(lambda kernels, x: [few_rows_product(kernel, x) for kernel in kernels])
    expected = [np.asarray(few_rows_product(kernel, x)) for kernel in kernels]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: chain(kernels, x), range(40)):
            np.testing.assert_array_equal(found, expected)


@compiled
@pytest.mark.parametrize(
    ("shape", "rows", "dtype", "is_taken"),
    [
        ((24, 40), 16, jnp.float32, True),
        ((24, 40), 4, jnp.float32, True),
        ((24, 40), 64, jnp.float32, True),
        ((24, 1023), 16, jnp.float32, True),
        ((24, 1024), 16, jnp.float32, False),
        ((24, 40), 3, jnp.float32, False),
        ((24, 40), 65, jnp.float32, False),
        ((24, 40), 16, jnp.bfloat16, False),
    ],
)
def test_products_take_it_where_it_is_the_faster_way(
    shape: tuple[int, int], rows: int, dtype: jnp.dtype, is_taken: bool
) -> None:
    kernel, x = drawn(*shape).astype(dtype), drawn(rows, shape[1], seed=1).astype(dtype)
    assert suits(kernel, x) == is_taken
    for products, is_called in (("cpp", is_taken), ("xla", False)):
        program = jax.jit(lambda x, k, p=products: product(x, k, jnp.float32, p))
        assert ("stepcoder_few_rows" in program.lower(x, kernel).as_text()) == is_called
        assert is_product(program(x, kernel).T, kernel, x)


def on(monkeypatch: pytest.MonkeyPatch, *, flags: str, devices: int, missing: str | None) -> None:
    monkeypatch.setattr(few_rows, "cpu_flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(few_rows, "_unregistered", lambda: missing)


@pytest.mark.parametrize(
    ("wanted", "flags", "devices", "missing", "expected"),
    [
        ("auto", "avx2 avx512f", 1, None, "cpp"),
        ("auto", "avx2", 1, None, "xla"),
        ("auto", "avx2 avx512f", 8, None, "xla"),
        ("auto", "avx2 avx512f", 1, "there is no C++ compiler", "xla"),
        ("cpp", "avx2", 1, None, "cpp"),
        ("xla", "avx2 avx512f", 1, None, "xla"),
    ],
)
def test_what_multiplies_is_decided_by_where_it_runs(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    flags: str,
    devices: int,
    missing: str | None,
    expected: str,
) -> None:
    on(monkeypatch, flags=flags, devices=devices, missing=missing)
    assert resolved_products(wanted) == expected
    caution = products_caution(wanted)
    assert (caution is not None) == (missing is not None)
    assert missing is None or missing in str(caution)


@pytest.mark.parametrize(
    ("wanted", "devices", "missing", "said"),
    [
        ("fast", 1, None, "'fast': one of auto, xla, cpp"),
        ("cpp", 8, None, "'cpp': it is for one CPU device, here are 8"),
        ("cpp", 1, "there is no C++ compiler (c++)", "'cpp': there is no C++ compiler"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, wanted: str, devices: int, missing: str | None, said: str
) -> None:
    on(monkeypatch, flags="avx512f", devices=devices, missing=missing)
    with pytest.raises(ConfigError) as refused:
        resolved_products(wanted)
    assert said in str(refused.value)
    assert "sampling.products" in str(refused.value)
