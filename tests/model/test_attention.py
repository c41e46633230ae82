import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.model.attention import attention, cached_attention


def einsum_reference(
    query: np.ndarray, keys: np.ndarray, values: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Float64, every query head with its own copy of keys [B S K H], slots ≤ position."""
    group = query.shape[2] // keys.shape[2]
    query, keys, values = (x.astype(np.float64) for x in (query, keys, values))
    keys, values = np.repeat(keys, group, axis=2), np.repeat(values, group, axis=2)
    logits = np.einsum("btnh,bsnh->bnts", query, keys) / np.sqrt(query.shape[-1])
    is_hidden = np.arange(keys.shape[1]) > positions[:, None, :, None]
    logits = np.where(is_hidden, -np.inf, logits)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bnts,bsnh->btnh", weights, values)


def random_heads(length: int, slots: int, kv_heads: int) -> list[np.ndarray]:
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(2, length, 4, 8), (2, slots, kv_heads, 8), (2, slots, kv_heads, 8)]
    return [np.asarray(jax.random.normal(k, s)) for k, s in zip(keys, shapes, strict=True)]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_causal_attention_against_the_reference(kv_heads: int) -> None:
    query, key, value = random_heads(6, 6, kv_heads)
    positions = np.broadcast_to(np.arange(6), (2, 6))
    expected = einsum_reference(query, key, value, positions)
    actual = attention(jnp.array(query), jnp.array(key), jnp.array(value), backend="xla")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("positions", [[[0], [6]], [[2, 3, 4], [4, 5, 6]]])
def test_cached_attention_against_the_reference(kv_heads: int, positions: list) -> None:
    where = np.array(positions, np.int32)
    query, key, value = random_heads(where.shape[1], 7, kv_heads)
    expected = einsum_reference(query, key, value, where)
    keys, values = (jnp.array(x.swapaxes(1, 2)) for x in (key, value))
    actual = cached_attention(jnp.array(query), keys, values, jnp.array(where), backend="xla")
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_cudnn_against_the_reference(kv_heads: int) -> None:
    query, key, value = random_heads(64, 64, kv_heads)
    query, key, value = (x.repeat(8, axis=3) for x in (query, key, value))
    positions = np.broadcast_to(np.arange(64, dtype=np.int32), (2, 64))
    expected = einsum_reference(query, key, value, positions)
    half = [jnp.array(x, jnp.bfloat16) for x in (query, key, value)]
    np.testing.assert_allclose(attention(*half, backend="cudnn"), expected, atol=5e-2)
    slots = [half[0], *(jnp.swapaxes(x, 1, 2) for x in half[1:])]
    cached = cached_attention(*slots, jnp.array(positions), backend="cudnn")
    np.testing.assert_allclose(cached, expected, atol=5e-2)
