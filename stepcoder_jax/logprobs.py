"""Log-probabilities of given tokens, without ever holding `[B, T, V]` in float32."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from stepcoder_jax.masked import at_least_float32
from stepcoder_jax.model.head_product import head_product

type Head = Callable[[Float[Array, "B C D"]], Float[Array, "B C V"]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """Scores of the tokens of full rows, float32; position 0, which nothing precedes, is 0."""

    logprobs: Float[Array, "B T"]  # of token t given the tokens before it
    entropy: Float[Array, "B T"] | None  # of the distribution that token t was drawn from, nats

    def require_entropy(self) -> Float[Array, "B T"]:
        """Return the entropy of tokens that were scored with it; ValueError without."""
        if self.entropy is None:
            raise ValueError("these tokens were scored without their entropy")
        return self.entropy


def token_logprobs(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"] | Head,
    tokens: Int[Array, "B T"],
    temperature: float | Float[Array, ""],
    chunk_tokens: int,
    with_entropy: bool,
) -> TokenLogprobs:
    """Log-probability of each token from the hidden state before it, a few tokens at a time.

    `log_softmax(head(hidden[:, t - 1]) / temperature)[tokens[:, t]]`, in float32. Chunks run in a
    scan whose backward pass computes their logits again, so that about `chunk_tokens * V` floats
    of logits are alive at a time, forwards and backwards.

    Args:
        hidden: last hidden states after the final norm, any float type.
        head: the output matrix, which is cast to the type of `hidden` chunk by chunk so that its
            gradient adds up in its own type; or a function from hidden states to finite logits.
        tokens: ids in `[0, V)`, padding included.
        temperature: the sampling temperature, > 0.
        chunk_tokens: about how many tokens, over all rows together, to score at once, >= 1.
        with_entropy: whether to compute the entropy too; None otherwise.
    """
    project: Head = (
        head if callable(head) else lambda states: head_product(states, head, "bcd,dv->bcv")
    )
    rows, length, _ = hidden.shape
    if length == 1:
        nothing = jnp.zeros((rows, 1), jnp.float32)
        return TokenLogprobs(logprobs=nothing, entropy=nothing if with_entropy else None)
    width, count = chunk_shape(length - 1, rows, chunk_tokens)

    if count == 1:
        # Its logits exist at one time whatever is done: they need not be computed again.
        logits = project(hidden[:, :-1])
        scored = score_logits(logits, tokens[:, 1:], temperature, with_entropy)
        return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (1, 0))), scored)

    @partial(jax.checkpoint, prevent_cse=False)  # the scan prevents it already
    def score_chunk(_: None, chunk: tuple[Array, Array]) -> tuple[None, tuple[Array, Array | None]]:
        states, targets = chunk
        scored = score_logits(project(states), targets, temperature, with_entropy)
        return None, (scored.logprobs, scored.entropy)

    chunks = (split_chunks(hidden[:, :-1], count, width), split_chunks(tokens[:, 1:], count, width))
    _, (logprobs, entropy) = jax.lax.scan(score_chunk, None, chunks)
    return TokenLogprobs(
        logprobs=join_chunks(logprobs, length),
        entropy=None if entropy is None else join_chunks(entropy, length),
    )


def window_logprobs(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "D V"] | Head,
    tokens: Int[Array, "B T"],
    first: Int[Array, " B"],
    width: int,
    temperature: float | Float[Array, ""],
    chunk_tokens: int,
    with_entropy: bool,
) -> TokenLogprobs:
    """Do as `token_logprobs` does for `width` tokens of each row, without the logits of others.

    Args:
        first: place of the first token wanted in each row. Those after it are scored as far as the
            row goes; a score outside of the window is finite and means nothing.
        width: most tokens wanted of a row, >= 1.
    """
    length = tokens.shape[1]
    if width >= length - 1:
        return token_logprobs(hidden, head, tokens, temperature, chunk_tokens, with_entropy)
    # The state before the first token, and no further than the row goes.
    begin = jnp.clip(first - 1, 0, length - 1 - width)

    def window(row: Array, at: Int[Array, ""]) -> Array:
        return jax.lax.dynamic_slice_in_dim(row, at, width + 1)

    def put_back(scores: Float[Array, " window"], at: Int[Array, ""]) -> Float[Array, " T"]:
        return jax.lax.dynamic_update_slice_in_dim(
            jnp.zeros(length, scores.dtype), scores[1:], at + 1, axis=0
        )

    cut = jax.vmap(window)
    scored = token_logprobs(
        cut(hidden, begin), head, cut(tokens, begin), temperature, chunk_tokens, with_entropy
    )
    return jax.tree.map(lambda x: jax.vmap(put_back)(x, begin), scored)


def logprobs_from_logits(
    logits: Float[Array, "B T V"],
    tokens: Int[Array, "B T"],
    temperature: float | Float[Array, ""],
) -> TokenLogprobs:
    """Do as `token_logprobs` does, entropy included, when all logits are at hand.

    Args:
        logits: `logits[:, t]` scores token t + 1.
        tokens: ids in `[0, V)`.
        temperature: > 0.
    """
    scored = score_logits(logits[:, :-1], tokens[:, 1:], temperature, with_entropy=True)
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (1, 0))), scored)


def score_logits(
    logits: Float[Array, "B C V"],
    targets: Int[Array, "B C"],
    temperature: float | Float[Array, ""],
    with_entropy: bool,
) -> TokenLogprobs:
    """Log-softmax of tempered logits at the targets, and its entropy, in at least float32."""
    scaled = at_least_float32(logits) / temperature
    log_total = jax.nn.logsumexp(scaled, axis=-1)
    chosen = jnp.take_along_axis(scaled, targets[..., None], axis=-1)[..., 0]
    entropy = None
    if with_entropy:
        probabilities = jnp.exp(scaled - log_total[..., None])
        entropy = log_total - jnp.sum(probabilities * scaled, axis=-1)
    return TokenLogprobs(logprobs=chosen - log_total, entropy=entropy)


def chunk_shape(positions: int, rows: int, chunk_tokens: int) -> tuple[int, int]:
    """Positions per chunk and number of chunks, evened out so that the last is not mostly padding.

    Chunks span all rows, whose axis may be sharded.
    """
    count = math.ceil(positions / max(1, chunk_tokens // rows))
    return math.ceil(positions / count), count


def split_chunks(x: Array, count: int, width: int) -> Array:
    """`[B, positions, ...]` padded and cut to `[count, B, width, ...]`."""
    missing = count * width - x.shape[1]
    padded = jnp.pad(x, ((0, 0), (0, missing)) + ((0, 0),) * (x.ndim - 2))
    return jnp.moveaxis(padded.reshape(x.shape[0], count, width, *x.shape[2:]), 1, 0)


def join_chunks(x: Float[Array, "N B C"], length: int) -> Float[Array, "B T"]:
    """Undo `split_chunks` for scores and put position 0's in front: `[B, length]`."""
    row_scores = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)
    return jnp.pad(row_scores[:, : length - 1], ((0, 0), (1, 0)))
