"""What the attention back ends are measured against: einsum in float64, and random heads."""

import numpy as np

Arrays = tuple[np.ndarray, ...]


def einsum_reference(
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    positions: np.ndarray,
    segments: np.ndarray | None = None,
) -> np.ndarray:
    """Every query head with its own copy of keys [B S K H]; slots ≤ position are seen, where
    segments are given of the query's own alone.
    """
    group = query.shape[2] // keys.shape[2]
    weights = _weights(query, np.repeat(keys, group, axis=2), positions, segments)
    return np.einsum("bnts,bsnh->btnh", weights, np.repeat(values, group, axis=2))


def einsum_gradients(
    heads: Arrays, positions: np.ndarray, weight: np.ndarray, segments: np.ndarray | None = None
) -> Arrays:
    """Gradients of Σ weight·result by query, keys and values, derived by hand."""
    query, keys, values = heads
    rows, slots, kv_heads, head_dim = keys.shape
    group = query.shape[2] // kv_heads
    keys, values = (np.repeat(x, group, axis=2).astype(np.float64) for x in (keys, values))
    p = _weights(query, keys, positions, segments)
    by_p = np.einsum("btnh,bsnh->bnts", weight, values)
    by_logits = p * (by_p - (p * by_p).sum(-1, keepdims=True)) / np.sqrt(head_dim)
    by_query = np.einsum("bnts,bsnh->btnh", by_logits, keys)
    by_keys = np.einsum("bnts,btnh->bsnh", by_logits, query)
    by_values = np.einsum("bnts,btnh->bsnh", p, weight)
    shared = (rows, slots, kv_heads, group, head_dim)
    return by_query, by_keys.reshape(shared).sum(3), by_values.reshape(shared).sum(3)


def causal_reference(
    heads: Arrays, weight: np.ndarray, segments: np.ndarray | None = None
) -> Arrays:
    """The result over whole rows, and its gradients."""
    rows, length = heads[0].shape[:2]
    positions = np.broadcast_to(np.arange(length), (rows, length))
    result = einsum_reference(*heads, positions, segments)
    return result, *einsum_gradients(heads, positions, weight, segments)


def random_heads(
    length: int, slots: int, *, heads: int, kv_heads: int, head_dim: int = 8
) -> Arrays:
    """Two rows of queries, keys and values, standard normal."""
    generator = np.random.default_rng(0)
    shapes = [(2, length, heads, head_dim), *[(2, slots, kv_heads, head_dim)] * 2]
    return tuple(generator.standard_normal(shape).astype(np.float32) for shape in shapes)


def random_weight(heads: Arrays) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(heads[0].shape).astype(np.float32)


def _weights(
    query: np.ndarray, keys: np.ndarray, positions: np.ndarray, segments: np.ndarray | None
) -> np.ndarray:
    logits = np.einsum("btnh,bsnh->bnts", query, keys, dtype=np.float64)
    logits /= np.sqrt(query.shape[-1])
    is_hidden = np.arange(keys.shape[1]) > positions[:, None, :, None]
    if segments is not None:
        is_hidden |= (segments[:, :, None] != segments[:, None, :])[:, None]
    logits = np.where(is_hidden, -np.inf, logits)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
