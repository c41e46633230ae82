"""Every back end against the reference; the fused kernel of TPUs runs interpreted."""

from collections.abc import Callable
from functools import partial

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from attention_reference import (
    Arrays,
    causal_reference,
    einsum_reference,
    random_heads,
    random_weight,
)
from random_models import one_device_of

from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.attention import attention, cached_attention
from stepcoder_jax.model.splash import MAX_BLOCK, splash_attention

Attend = Callable[..., jax.Array]

XLA = pytest.param(partial(attention, backend="xla"), id="xla")
SPLASH = pytest.param(partial(splash_attention, interpret=True), id="splash")
CUDNN = pytest.param(partial(attention, backend="cudnn"), id="cudnn", marks=pytest.mark.gpu)
GROUPS = [(2, 2), (6, 2), (4, 1)]


@partial(jax.jit, static_argnums=0)
def value_and_gradients(attend: Attend, heads: Arrays, weight: jax.Array) -> tuple[jax.Array, ...]:
    result, pull = jax.vjp(attend, *heads)
    return (result, *pull(weight.astype(result.dtype)))


def measured(attend: Attend, heads: Arrays, weight: np.ndarray, dtype: str) -> Arrays:
    """The result over whole rows, and the gradients of Σ weight·result by query, key, value."""
    inputs = tuple(jnp.asarray(x, dtype) for x in heads)
    found = value_and_gradients(attend, inputs, jnp.asarray(weight))
    assert {x.dtype for x in found} == {jnp.dtype(dtype)}
    return tuple(np.asarray(x, np.float64) for x in found)


@pytest.mark.parametrize("attend", [XLA, SPLASH])
@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_values_and_gradients_in_float32(attend: Attend, heads: int, kv_heads: int) -> None:
    inputs = random_heads(9, 9, heads=heads, kv_heads=kv_heads)
    weight = random_weight(inputs)
    found = measured(attend, inputs, weight, "float32")
    for a, b in zip(found, causal_reference(inputs, weight), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("attend", "heads", "kv_heads"),
    [
        *[pytest.param(*param.values, 6, 2, id=param.id) for param in (XLA, SPLASH)],
        *[pytest.param(*CUDNN.values, *group, marks=pytest.mark.gpu) for group in GROUPS],
    ],
)
def test_values_and_gradients_in_bfloat16(attend: Attend, heads: int, kv_heads: int) -> None:
    """Within 2⁻⁷ of the largest entry: bfloat16 rounds by 2⁻⁹, at a handful of places."""
    inputs = random_heads(65, 65, heads=heads, kv_heads=kv_heads, head_dim=64)
    inputs = tuple(x.astype(jnp.bfloat16).astype(np.float32) for x in inputs)
    weight = random_weight(inputs)
    found = measured(attend, inputs, weight, "bfloat16")
    for a, b in zip(found, causal_reference(inputs, weight), strict=True):
        np.testing.assert_allclose(a, b, atol=2**-7 * np.abs(b).max())


@pytest.mark.parametrize("attend", [XLA, SPLASH, CUDNN])
def test_right_padding_changes_nothing_before_it(attend: Attend) -> None:
    """Whatever stands in padding, no token before it sees it, and none of them moves it."""
    inputs = random_heads(9, 9, heads=4, kv_heads=1)
    is_padding = np.arange(9)[None] >= np.array([5, 8])[:, None]
    weight = np.where(is_padding[..., None, None], 0, random_weight(inputs))
    perturbed = tuple(np.where(is_padding[..., None, None], 1e9, x) for x in inputs)
    dtype = "bfloat16" if attend is CUDNN.values[0] else "float32"
    plain = measured(attend, inputs, weight, dtype)
    found = measured(attend, perturbed, weight, dtype)
    for a, b in zip(found, plain, strict=True):
        np.testing.assert_array_equal(a[~is_padding], b[~is_padding])
    for gradient in found[1:]:
        np.testing.assert_array_equal(gradient[is_padding], 0)


@pytest.mark.parametrize(
    ("attend", "length"),
    [
        pytest.param(*SPLASH.values, MAX_BLOCK + 88, id="splash"),
        *[pytest.param(*XLA.values, length, id=f"xla-{length}") for length in (150, 601)],
    ],
)
def test_several_blocks_the_last_one_shorter(attend: Attend, length: int) -> None:
    inputs = random_heads(length, length, heads=3, kv_heads=1)
    weight = random_weight(inputs)
    found = measured(attend, inputs, weight, "float32")
    for a, b in zip(found, causal_reference(inputs, weight), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def elsewhere(query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array) -> jax.Array:
    """What ``xla`` computes on a machine with a GPU, computed here."""
    heads = (query, key, value)
    with one_device_of("gpu"):
        found = jax.make_jaxpr(partial(attention, backend="xla"))(*heads, segments=segments)
    return jax.extend.core.jaxpr_as_fun(found)(*heads, segments)[0]


def segments_of(*lengths: tuple[int, ...]) -> np.ndarray:
    """A row of numbered runs for each tuple of lengths; the last run is padding."""
    rows = [np.repeat([*range(1, len(runs)), 0], runs) for runs in lengths]
    return np.stack(rows).astype(np.int32)


@pytest.mark.parametrize(
    ("attend", "lengths"),
    [
        pytest.param(partial(attention, backend="xla"), ((4, 3, 2), (1, 7, 1)), id="xla"),
        pytest.param(
            partial(attention, backend="xla"), ((90, 30, 30), (20, 129, 1)), id="xla, in blocks"
        ),
        pytest.param(elsewhere, ((4, 3, 2), (1, 7, 1)), id="xla on a GPU"),
        pytest.param(
            partial(splash_attention, interpret=True), ((90, 30, 30), (20, 129, 1)), id="splash"
        ),
    ],
)
def test_packed_sequences_see_themselves_alone(
    attend: Attend, lengths: tuple[tuple[int, ...], ...]
) -> None:
    segments = segments_of(*lengths)
    inputs = random_heads(segments.shape[1], segments.shape[1], heads=4, kv_heads=2)
    weight = random_weight(inputs)
    found = measured(partial(attend, segments=jnp.asarray(segments)), inputs, weight, "float32")
    for a, b in zip(found, causal_reference(inputs, weight, segments), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_kernel_of_nvidia_refuses_packed_rows_by_name() -> None:
    segments = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    heads = [jax.ShapeDtypeStruct((1, 4, 4, 8), jnp.bfloat16)] * 3
    attend = partial(attention, backend="cudnn")
    with pytest.raises(ConfigError, match=r"sft\.packing = false"), one_device_of("gpu"):
        jax.make_jaxpr(attend)(*heads, segments=segments)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("positions", [[[0], [6]], [[2, 3, 4], [4, 5, 6]]])
def test_cached_attention_against_the_reference(kv_heads: int, positions: list) -> None:
    where = np.array(positions, np.int32)
    query, key, value = random_heads(where.shape[1], 7, heads=4, kv_heads=kv_heads)
    expected = einsum_reference(query, key, value, where)
    keys, values = (jnp.array(x.swapaxes(1, 2)) for x in (key, value))
    actual = cached_attention(jnp.array(query), keys, values, jnp.array(where), backend="xla")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("positions", [[[0], [6]], [[2, 3, 4], [4, 5, 6]]])
def test_cached_cudnn_against_the_reference(positions: list) -> None:
    where = np.array(positions, np.int32)
    query, key, value = random_heads(where.shape[1], 8, heads=4, kv_heads=2, head_dim=64)
    expected = einsum_reference(query, key, value, where)
    half = [jnp.array(x, jnp.bfloat16) for x in (query, key.swapaxes(1, 2), value.swapaxes(1, 2))]
    actual = cached_attention(*half, jnp.array(where), backend="cudnn")
    np.testing.assert_allclose(actual, expected, atol=2**-7 * np.abs(expected).max())


def traced(backend: str, dtype: str = "float32", *, cached: bool = False) -> str:
    heads = [jax.ShapeDtypeStruct((1, 4, 4, 8), dtype)] * 3
    if not cached:
        return str(jax.make_jaxpr(partial(attention, backend=backend))(*heads))
    attend = partial(cached_attention, backend=backend)
    return str(jax.make_jaxpr(attend)(*heads, jax.ShapeDtypeStruct((1, 4), jnp.int32)))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("backend", "platform", "dtype", "message"),
    [
        ("flash", "cpu", "float32", "'flash' is unknown; allowed: xla, cudnn, splash"),
        ("cudnn", "cpu", "bfloat16", "'cudnn' needs an NVIDIA GPU, and JAX computes on 'cpu'"),
        ("cudnn", "tpu", "bfloat16", "'cudnn' needs an NVIDIA GPU, and JAX computes on 'tpu'"),
        ("cudnn", "gpu", "float32", "'cudnn' takes bfloat16 or float16, not float32: set"),
        ("splash", "cpu", "bfloat16", "'splash' needs a TPU, and JAX computes on 'cpu'"),
        ("splash", "gpu", "bfloat16", "'splash' needs a TPU, and JAX computes on 'gpu'"),
    ],
)
def test_what_cannot_run_is_refused_by_name(
    backend: str, platform: str, dtype: str, message: str, cached: bool
) -> None:
    with pytest.raises(ConfigError, match=f"model.attention = {message}"), one_device_of(platform):
        traced(backend, dtype, cached=cached)


def test_without_a_mesh_the_default_device_decides() -> None:
    with pytest.raises(ConfigError, match="'splash' needs a TPU, and JAX computes on 'cpu'"):
        traced("splash")


def test_splash_is_the_kernel_for_whole_rows_and_plain_attention_over_a_cache() -> None:
    with one_device_of("tpu"):
        assert "pallas_call" in traced("splash")
        assert "pallas_call" not in traced("xla")
        assert traced("splash", cached=True) == traced("xla", cached=True)
