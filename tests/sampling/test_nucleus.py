"""The nucleus and the most probable tokens, against a sort, and draws from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepcoder_jax.sampling.draw import draw
from stepcoder_jax.sampling.nucleus import in_nucleus, most_probable, nucleus


def sorted_nucleus(row: np.ndarray, top_p: float) -> set[int]:
    order = np.argsort(-row, kind="stable")
    count = int(np.searchsorted(np.cumsum(row[order]), top_p)) + 1
    return set(order[:count].tolist())


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
def test_the_nucleus_is_what_sorting_gives_whatever_the_weights_sum_to(top_p: float) -> None:
    logits = np.random.default_rng(0).normal(size=(64, 50)).astype(np.float32) * 3
    probabilities = jax.nn.softmax(logits, axis=-1)
    kept = np.asarray(nucleus(probabilities, top_p))
    np.testing.assert_array_equal(nucleus(probabilities * 8, top_p), kept)
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


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 10.0])
def test_logprobs_of_large_logits_are_as_exact_as_those_of_small_ones(temperature: float) -> None:
    logits = jnp.array([[1e4, -1e4, 1e4]] * 20)
    keys = jax.random.split(jax.random.key(0), 20)
    tokens, logprobs = draw(logits, keys, temperature, 1.0)
    assert set(tokens.tolist()) == {0, 2}
    np.testing.assert_allclose(logprobs, np.log(0.5), rtol=1e-6)


@pytest.mark.parametrize(("temperature", "top_p"), [(1e-40, 1.0), (1.0, 1e-40), (1.0, 1e-50)])
def test_settings_too_small_for_float32_take_the_most_probable(
    temperature: float, top_p: float
) -> None:
    logits = jnp.array([[1.0, 3.0, 2.0] + [0.0] * 300] * 20)
    keys = jax.random.split(jax.random.key(0), 20)
    tokens, logprobs = draw(logits, keys, temperature, top_p)
    assert set(tokens.tolist()) == {1}
    assert np.isfinite(logprobs).all()


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
def test_a_token_is_in_the_nucleus_when_the_nucleus_has_it(top_p: float) -> None:
    logits = np.random.default_rng(1).normal(size=(50, 50)).astype(np.float32) * 3
    probabilities = jax.nn.softmax(logits, axis=-1)
    kept = np.asarray(nucleus(probabilities, top_p))
    for token in range(50):
        tokens, mass = jnp.full(50, token), jnp.full(50, 8 * top_p)
        found = in_nucleus(probabilities * 8, tokens, mass)
        np.testing.assert_array_equal(found, kept[:, token])


@pytest.mark.parametrize("top_k", [1, 3, 49])
def test_the_most_probable_are_what_sorting_gives(top_k: int) -> None:
    logits = np.random.default_rng(2).normal(size=(64, 50)).astype(np.float32)
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    kept = np.asarray(most_probable(jnp.asarray(probabilities), top_k))
    for row, mask in zip(probabilities, kept, strict=True):
        assert set(np.flatnonzero(mask)) == set(np.argsort(-row)[:top_k])


def test_no_most_probable_is_no_restriction() -> None:
    assert most_probable(jnp.array([[0.9, 0.1]]), 0).all()
    assert most_probable(jnp.array([[0.9, 0.1]]), 2).all()


def shares(logits: np.ndarray, count: int, *settings: float) -> np.ndarray:
    keys = jax.random.split(jax.random.key(3), count)
    rows = jnp.broadcast_to(jnp.asarray(logits), (count, len(logits)))
    tokens, _ = jax.jit(draw, static_argnums=(2, 3, 4))(rows, keys, *settings)
    return np.bincount(np.asarray(tokens), minlength=len(logits)) / count


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.8, 0.95])
def test_restricted_draws_have_the_nucleus_distribution(top_p: float) -> None:
    logits = np.random.default_rng(4).normal(size=600).astype(np.float32) * 2
    expected = np.asarray(jax.nn.softmax(logits / 0.7))
    expected = np.where([i in sorted_nucleus(expected, top_p) for i in range(600)], expected, 0)
    expected /= expected.sum()
    found = shares(logits, 20_000, 0.7, top_p, 0)
    assert np.all(found[expected == 0] == 0)
    # Five standard deviations: there are some hundred shares.
    assert np.all(np.abs(found - expected) <= 5 * np.sqrt(expected / 20_000))


def test_top_k_is_applied_before_top_p() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    # Of the first three the first two have 0.78, which is enough for 0.75; of all four, 0.7.
    assert set(np.flatnonzero(shares(logits, 2000, 1.0, 0.75, 3))) == {0, 1}
    assert set(np.flatnonzero(shares(logits, 2000, 1.0, 0.75, 0))) == {0, 1, 2}
