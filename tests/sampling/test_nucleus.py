"""Drawing from the nucleus, against a sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.sampling.nucleus import draw, nucleus


def sorted_nucleus(row: np.ndarray, top_p: float) -> set[int]:
    order = np.argsort(-row, kind="stable")
    count = int(np.searchsorted(np.cumsum(row[order]), top_p)) + 1
    return set(order[:count].tolist())


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
def test_the_nucleus_is_what_sorting_gives(top_p: float) -> None:
    logits = np.random.default_rng(0).normal(size=(64, 50)).astype(np.float32) * 3
    probabilities = jax.nn.softmax(logits, axis=-1)
    kept = np.asarray(nucleus(probabilities, top_p))
    for row, mask in zip(np.asarray(probabilities), kept, strict=True):
        assert set(np.flatnonzero(mask).tolist()) == sorted_nucleus(row, top_p)


def test_the_most_probable_token_is_always_kept_and_1_keeps_all() -> None:
    probabilities = jnp.array([[0.9, 0.05, 0.05], [1.0, 0.0, 0.0]])
    assert nucleus(probabilities, 1e-6).tolist() == [[True, False, False]] * 2
    assert nucleus(probabilities, 1.0).all()


def test_draws_have_the_tempered_distribution_and_its_logprobs() -> None:
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, -8.0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    tokens, logprobs = draw(jnp.broadcast_to(logits, (20_000, 5)), keys, 0.7, 1.0)
    expected = np.asarray(jax.nn.softmax(logits / 0.7))
    found = np.bincount(np.asarray(tokens), minlength=5) / 20_000
    # Four standard deviations of the share of 20,000 draws.
    assert np.all(np.abs(found - expected) <= 4 * np.sqrt(expected / 20_000) + 1e-4)
    np.testing.assert_allclose(logprobs, np.log(expected)[np.asarray(tokens)], rtol=1e-4)


def test_a_restricted_draw_stays_inside_and_keeps_the_whole_vocabularys_logprob() -> None:
    logits = jnp.log(jnp.array([[0.6, 0.3, 0.06, 0.04]]))
    keys = jax.random.split(jax.random.key(1), 500)
    tokens, logprobs = draw(jnp.broadcast_to(logits, (500, 4)), keys, 1.0, 0.8)
    assert set(tokens.tolist()) == {0, 1}
    np.testing.assert_allclose(jnp.exp(logprobs), jnp.array([0.6, 0.3])[tokens], rtol=1e-5)


def test_temperature_0_is_greedy_with_logprobs_at_1() -> None:
    logits = jnp.array([[0.0, 3.0, 1.0]])
    tokens, logprobs = draw(logits, jax.random.split(jax.random.key(0), 1), 0.0, 0.5)
    assert tokens.tolist() == [1]
    np.testing.assert_allclose(logprobs, jax.nn.log_softmax(logits)[0, 1:2], rtol=1e-6)
