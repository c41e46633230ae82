import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from stepcoder_jax import logprobs as module
from stepcoder_jax.logprobs import chunk_shape

B, T, D, V = 3, 9, 4, 13
token_logprobs = jax.jit(module.token_logprobs, static_argnames=("chunk_tokens", "with_entropy"))
logprobs_from_logits = jax.jit(module.logprobs_from_logits)


def random_rows(dtype=np.float32):
    rng = np.random.default_rng(0)
    hidden, head = rng.normal(size=(B, T, D)).astype(dtype), rng.normal(size=(D, V)).astype(dtype)
    return jnp.asarray(hidden), jnp.asarray(head), jnp.asarray(rng.integers(0, V, (B, T)))


def float64_reference(hidden, head, tokens, temperature):
    """Log-probabilities and entropies, token by token."""
    hidden, head = np.asarray(hidden, np.float64), np.asarray(head, np.float64)
    logprobs, entropy = np.zeros((B, T)), np.zeros((B, T))
    for b in range(B):
        for t in range(1, T):
            scaled = hidden[b, t - 1] @ head / temperature
            scores = scaled - np.log(np.sum(np.exp(scaled)))
            logprobs[b, t] = scores[tokens[b, t]]
            entropy[b, t] = -np.sum(np.exp(scores) * scores)
    return logprobs, entropy


@pytest.mark.parametrize("chunk_tokens", [1, 3, 7, 15, 24, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_parity_with_a_float64_loop_at_any_chunk_size(chunk_tokens, temperature):
    hidden, head, tokens = random_rows()
    result = token_logprobs(
        hidden, head, tokens, temperature, chunk_tokens=chunk_tokens, with_entropy=True
    )
    logprobs, entropy = float64_reference(hidden, head, tokens, temperature)
    np.testing.assert_allclose(result.logprobs, logprobs, atol=1e-5)
    np.testing.assert_allclose(result.entropy, entropy, atol=1e-5)


@pytest.mark.parametrize("width", [1, 3, 6, T - 1, T, 50])
@pytest.mark.parametrize(("dtype", "near"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_a_window_is_that_part_of_the_row_with_the_same_gradients(width, dtype, near):
    with jax.enable_x64(dtype is np.float64):
        check_window(width, *random_rows(dtype), near)


def check_window(width, hidden, head, tokens, near):
    first = jnp.array([1, 4, T - 1])
    place = np.arange(T)[None]
    wanted = (place >= first[:, None]) & (place < first[:, None] + width)

    def total(score):
        def loss(hidden, head):
            scored = score(hidden, head)
            parts = scored.logprobs + 2 * scored.require_entropy()
            return jnp.sum(jnp.where(wanted, parts, 0.0)), scored

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(hidden, head)

    options = {"temperature": 0.8, "chunk_tokens": 4, "with_entropy": True}
    whole, of_rows = total(lambda h, w: module.token_logprobs(h, w, tokens, **options))
    cut, of_windows = total(
        lambda h, w: module.window_logprobs(h, w, tokens, first, width, **options)
    )
    for a, b in zip(of_windows.__dict__.values(), of_rows.__dict__.values(), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_allclose(
            np.where(wanted, a, 0), np.where(wanted, b, 0), atol=near, rtol=0
        )
    for a, b in zip(cut, whole, strict=True):
        assert np.linalg.norm(a - b) <= near * np.linalg.norm(b)


def test_logits_outside_of_a_window_are_never_made():
    hidden, head, tokens = random_rows()

    def largest(width):
        score = lambda h: module.window_logprobs(
            h, head, tokens, jnp.array([2, 3, 4]), width, 1.0, 1000, False
        )
        jaxpr = jax.make_jaxpr(score)(hidden)
        sizes = re.findall(rf"f32\[{B},(\d+),{V}\]", str(jaxpr))
        return max(map(int, sizes))

    assert (largest(3), largest(T)) == (3, T - 1)


def test_logits_at_hand_give_the_same():
    hidden, head, tokens = random_rows()
    direct = logprobs_from_logits(hidden @ head, tokens, 0.8)
    logprobs, entropy = float64_reference(hidden, head, tokens, 0.8)
    np.testing.assert_allclose(direct.logprobs, logprobs, atol=1e-5)
    np.testing.assert_allclose(direct.entropy, entropy, atol=1e-5)


def test_a_function_may_stand_for_the_head():
    hidden, head, tokens = random_rows()
    by_matrix = token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=False)
    by_function = module.token_logprobs(
        hidden, lambda h: h @ head, tokens, 0.8, chunk_tokens=6, with_entropy=False
    )
    np.testing.assert_allclose(by_function.logprobs, by_matrix.logprobs, atol=1e-6)


def test_entropy_is_left_out_when_not_asked_for():
    hidden, head, tokens = random_rows()
    assert (
        token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=False).entropy
        is None
    )


def test_position_t_depends_on_the_state_before_it_alone():
    hidden, head, tokens = random_rows()
    before = token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=False).logprobs
    after = token_logprobs(
        hidden.at[:, 4].add(1.0), head, tokens, 0.8, chunk_tokens=6, with_entropy=False
    )
    changed = np.any(np.asarray(before != after.logprobs), axis=0)
    np.testing.assert_array_equal(np.flatnonzero(changed), [5])


def test_probabilities_of_all_tokens_add_up_to_one():
    hidden, head, _ = random_rows()
    total = sum(
        jnp.exp(
            token_logprobs(
                hidden, head, jnp.full((B, T), token), 0.8, 6, with_entropy=False
            ).logprobs
        )
        for token in range(V)
    )
    np.testing.assert_allclose(total[:, 1:], np.ones((B, T - 1)), rtol=1e-5)


def test_a_blind_head_is_uniform():
    hidden, head, tokens = random_rows()
    result = token_logprobs(hidden, 0.0 * head, tokens, 0.8, chunk_tokens=6, with_entropy=True)
    np.testing.assert_allclose(result.logprobs[:, 1:], -np.log(V), rtol=1e-6)
    np.testing.assert_allclose(result.entropy[:, 1:], np.log(V), rtol=1e-6)


def test_rows_of_one_token_have_nothing_to_score():
    hidden, head, tokens = random_rows()
    result = token_logprobs(
        hidden[:, :1], head, tokens[:, :1], 0.8, chunk_tokens=6, with_entropy=True
    )
    np.testing.assert_array_equal(result.logprobs, np.zeros((B, 1)))
    np.testing.assert_array_equal(result.entropy, np.zeros((B, 1)))


def test_padding_on_the_right_changes_nothing_before_it():
    hidden, head, tokens = random_rows()
    result = token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=True)
    longer = token_logprobs(
        jnp.pad(hidden, ((0, 0), (0, 7), (0, 0)), constant_values=1e3),
        head,
        jnp.pad(tokens, ((0, 0), (0, 7))),
        0.8,
        chunk_tokens=6,
        with_entropy=True,
    )
    np.testing.assert_allclose(longer.logprobs[:, :T], result.logprobs, atol=1e-6)
    np.testing.assert_allclose(longer.entropy[:, :T], result.entropy, atol=1e-6)


def test_gradient():
    with jax.enable_x64(True):
        hidden, head, tokens = random_rows(np.float64)

        @jax.jit
        def total(hidden, head):
            result = token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=True)
            return jnp.sum(result.logprobs**2 + result.entropy)

        check_grads(total, (hidden, head), order=1, modes=["rev"])


def test_chunks_do_not_change_the_gradient():
    hidden, head, tokens = random_rows()

    def total(hidden, head, chunk_tokens):
        result = token_logprobs(
            hidden, head, tokens, 0.8, chunk_tokens=chunk_tokens, with_entropy=False
        )
        return jnp.sum(result.logprobs**2)

    whole = jax.grad(total, (0, 1))(hidden, head, 1000)
    chunked = jax.grad(total, (0, 1))(hidden, head, 4)
    np.testing.assert_allclose(chunked[0], whole[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(chunked[1], whole[1], rtol=1e-4, atol=1e-5)


def test_half_precision_states_are_scored_in_float32_and_the_head_learns_in_its_own_type():
    hidden, head, tokens = random_rows()
    hidden = hidden.astype(jnp.bfloat16)

    def total(head):
        result = token_logprobs(hidden, head, tokens, 0.8, chunk_tokens=6, with_entropy=False)
        return jnp.sum(result.logprobs), result.logprobs

    gradient, logprobs = jax.grad(total, has_aux=True)(head)
    assert logprobs.dtype == gradient.dtype == jnp.float32
    rounded = head.astype(jnp.bfloat16).astype(jnp.float32)
    expected, _ = float64_reference(hidden.astype(jnp.float32), rounded, tokens, 0.8)
    np.testing.assert_allclose(logprobs, expected, atol=1e-5)


def largest_array(jaxpr) -> int:
    """Elements of the largest array that any equation, nested ones included, produces."""
    sizes = [0]
    for equation in jaxpr.eqns:
        sizes += [variable.aval.size for variable in equation.outvars]
        leaves = jax.tree.leaves(list(equation.params.values()))
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]  # of a closed one
        sizes += [largest_array(leaf) for leaf in inner if hasattr(leaf, "eqns")]
    return max(sizes)


@pytest.mark.parametrize("with_entropy", [False, True])
def test_logits_of_a_whole_row_never_exist_not_even_for_the_backward_pass(with_entropy):
    rows, length, width, words, chunk_tokens = 2, 65, 3, 50, 8
    hidden, head = jnp.ones((rows, length, width)), jnp.ones((width, words))
    tokens = jnp.zeros((rows, length), int)

    def total(hidden, head):
        result = module.token_logprobs(hidden, head, tokens, 0.8, chunk_tokens, with_entropy)
        return sum(jnp.sum(x) for x in jax.tree.leaves(result))

    backward = jax.make_jaxpr(jax.grad(total, (0, 1)))(hidden, head)
    assert largest_array(backward.jaxpr) == chunk_tokens * words


@pytest.mark.parametrize(
    ("positions", "rows", "chunk_tokens", "shape"),
    [
        (8, 3, 6, (2, 4)),
        (9, 3, 12, (3, 3)),
        (8, 3, 1, (1, 8)),
        (8, 3, 1000, (8, 1)),
        (5, 1, 4, (3, 2)),
    ],
)
def test_chunks_cover_all_positions_evenly(positions, rows, chunk_tokens, shape):
    assert chunk_shape(positions, rows, chunk_tokens) == shape
    assert np.prod(shape) >= positions
