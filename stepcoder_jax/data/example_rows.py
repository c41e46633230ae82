"""Supervised examples as rows of one width: an example a row, or as many as fit."""

from collections.abc import Sequence
from dataclasses import dataclass

import grain
import numpy as np
from jaxtyping import Bool, Int

from stepcoder_jax.data.prompts import Example

# Rows that are filled at one time: an example goes to the first of them that has room, and when
# none has, the next as many are begun. More of them fill rows hardly better.
OPEN_ROWS = 1024


@dataclass(frozen=True, kw_only=True)
class ExampleRows:
    """Right-padded rows on the host.

    ::

        tokens     p p a a p a a a 0 0     p prompt · a answer, its end token included
        is_answer  . . x x . x x x . .     what the loss is over
        segments   1 1 1 1 2 2 2 2 0 0     which example of its row a token is of; 0: padding

    The first token of an example is never an answer: nothing precedes it that it follows from.
    """

    tokens: Int[np.ndarray, "rows T"]
    is_answer: Bool[np.ndarray, "rows T"]
    segments: Int[np.ndarray, "rows T"]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def used_fraction(self) -> float:
        """Tokens that are not padding, of all."""
        return float(np.mean(self.segments > 0))

    def take(self, indices: Int[np.ndarray, " n"]) -> "ExampleRows":
        """Some of the rows."""
        return ExampleRows(
            tokens=self.tokens[indices],
            is_answer=self.is_answer[indices],
            segments=self.segments[indices],
        )


def one_a_row(examples: Sequence[Example], width: int, pad_token: int) -> ExampleRows:
    """Each example in a row of its own, in their order; none is longer than ``width``."""
    tokens = np.full((len(examples), width), pad_token, np.int32)
    is_answer = np.zeros(tokens.shape, bool)
    segments = np.zeros(tokens.shape, np.int32)
    for row, example in enumerate(examples):
        length = len(example.tokens)
        tokens[row, :length] = example.tokens
        is_answer[row, :length] = _is_answer(example)
        segments[row, :length] = 1
    return ExampleRows(tokens=tokens, is_answer=is_answer, segments=segments)


def packed(examples: Sequence[Example], width: int, pad_token: int, *, seed: int) -> ExampleRows:
    """As many examples in a row as fit, first-fit in an order that follows from the seed.

    Every example is in one row, whole; none is longer than ``width``.
    """
    arrays = [
        {"tokens": np.array(e.tokens, np.int32), "is_answer": _is_answer(e)} for e in examples
    ]
    # Read where they are called for: threads that read ahead have nothing to wait for here.
    at_once = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    shuffled = grain.MapDataset.source(arrays).seed(seed).shuffle().to_iter_dataset(at_once)
    rows = list(
        grain.experimental.FirstFitPackIterDataset(
            shuffled,
            length_struct={"tokens": width, "is_answer": width},
            num_packing_bins=min(len(examples), OPEN_ROWS),
            shuffle_bins=False,
        )
    )
    segments = np.stack([row["tokens_segment_ids"] for row in rows])
    tokens = np.stack([row["tokens"] for row in rows])
    return ExampleRows(
        tokens=np.where(segments == 0, np.int32(pad_token), tokens),
        is_answer=np.stack([row["is_answer"] for row in rows]),
        segments=segments,
    )


def _is_answer(example: Example) -> Bool[np.ndarray, " length"]:
    length = len(example.tokens)
    return np.arange(length) >= max(1, length - example.answer_tokens)
