"""The kernel in C++ is the product, for each row by itself; and it is taken where it is to be."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cpp_compiler import compiled

from stepcoder_jax.config import ConfigError
from stepcoder_jax.model import few_rows
from stepcoder_jax.model.few_rows import (
    ChosenProducts,
    choose_products,
    few_rows_product,
    suits,
)
from stepcoder_jax.model.platform import cpu_flags
from stepcoder_jax.model.product import product

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


WORK = {"rows": 16, "inputs": 576, "dtype": "float32"}
AVX512, NO_COMPILER = "avx2 avx512f", "there is no C++ compiler (c++)"


@pytest.mark.parametrize(
    ("wanted", "work", "flags", "devices", "expected"),
    [
        ("auto", WORK, AVX512, 1, "cpp"),
        ("auto", WORK, "avx2", 1, "xla"),
        ("auto", WORK, AVX512, 8, "xla"),
        ("auto", WORK | {"rows": 128}, AVX512, 1, "xla"),
        ("auto", WORK | {"rows": 2}, AVX512, 1, "xla"),
        ("auto", WORK | {"inputs": 1536}, AVX512, 1, "xla"),
        ("auto", WORK | {"dtype": jnp.bfloat16}, AVX512, 1, "xla"),
        ("cpp", WORK, "avx2", 1, "cpp"),
        ("xla", WORK, AVX512, 1, "xla"),
    ],
)
def test_what_multiplies_is_decided_by_where_and_what(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    work: dict[str, Any],
    flags: str,
    devices: int,
    expected: str,
) -> None:
    on(monkeypatch, flags=flags, devices=devices, missing=None)
    chosen = choose_products(wanted, **work)
    assert chosen.products == expected
    # Who had a choice is told of the less usual one.
    assert (chosen.remark is not None) == (expected == "cpp")


def test_only_who_misses_something_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, flags=AVX512, devices=1, missing=NO_COMPILER)
    chosen = choose_products("auto", **WORK)
    assert chosen.products == "xla"
    assert str(chosen.remark).startswith("CAUTION")
    assert str(chosen.remark).endswith(NO_COMPILER)
    for wanted, work in (("auto", WORK | {"rows": 128}), ("xla", WORK)):
        assert choose_products(wanted, **work) == ChosenProducts(products="xla")


@pytest.mark.parametrize(
    ("wanted", "work", "devices", "missing", "said"),
    [
        ("fast", WORK, 1, None, "'fast': one of auto, xla, cpp"),
        ("cpp", WORK, 8, None, "'cpp': it is for one CPU device, here are 8"),
        ("cpp", WORK, 1, NO_COMPILER, f"'cpp': {NO_COMPILER}"),
        ("cpp", WORK | {"rows": 128}, 1, None, "here are 128 (sampling.slots) of 576 in float32"),
        ("cpp", WORK | {"inputs": 1536}, 1, None, "here are 16 (sampling.slots) of 1536"),
        ("cpp", WORK | {"dtype": "bfloat16"}, 1, None, "of 576 in bfloat16"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    work: dict[str, Any],
    devices: int,
    missing: str | None,
    said: str,
) -> None:
    on(monkeypatch, flags=AVX512, devices=devices, missing=missing)
    with pytest.raises(ConfigError) as refused:
        choose_products(wanted, **work)
    assert said in str(refused.value)
    assert "sampling.products" in str(refused.value)


TELLS = """
from stepcoder_jax.model.few_rows import choose_products
print(choose_products("auto", rows=16, inputs=576, dtype="float32"))
"""


def told(cache: Path) -> str:
    """What a process says that finds its libraries in ``cache``."""
    done = subprocess.run(
        [sys.executable, "-c", TELLS],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@compiled
@pytest.mark.skipif("avx512f" not in cpu_flags(), reason="`auto` takes it with AVX-512 only")
def test_a_library_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    assert "products='cpp'" in told(tmp_path)
    (library,) = (tmp_path / "stepcoder_jax" / "lib").iterdir()
    library.write_text("no library")
    said = told(tmp_path)
    assert "products='xla'" in said
    assert f"remove {library} to have it compiled anew" in said
