"""Finding stop strings in rows that grow, without looking at any text twice."""

from collections.abc import Sequence

from stepcoder_jax.program import TokenBytes


class StopFinder:
    """Reads one row token by token, until a stop string is complete."""

    def __init__(self, token_bytes: TokenBytes, stop: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._stop = tuple(text.encode() for text in stop)
        self._n_tokens = 0
        # The last bytes, in which a stop string may have begun.
        self._tail = b""

    @property
    def n_tokens(self) -> int:
        """How many tokens of the row have been read."""
        return self._n_tokens

    def feed(self, tokens: Sequence[int]) -> bool:
        """Reads the next tokens of the row; stops behind one that completes a stop string.

        Returns:
          Whether one is complete; it ends in the last token read.
        """
        overlap = max(map(len, self._stop), default=1) - 1
        for token in tokens:
            self._n_tokens += 1
            text = self._tail + self._token_bytes.join([token])
            if any(stop in text for stop in self._stop):
                return True
            self._tail = text[max(len(text) - overlap, 0) :]
        return False
