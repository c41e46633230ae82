"""The host half of generation: prompts in, finished samples out as soon as they are finished."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.program import TokenBytes, find_stop
from stepcoder_jax.sampling.decode import DecodeSettings, DecodeState, decode_chunk, prefill
from stepcoder_jax.types import Params, Prompt, Sample


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Everything about generation that does not change from call to call.

    Attributes:
      prompt_buckets: allowed prompt widths, ascending; a call uses the smallest that fits, so that
        at most this many programs are compiled.
      slots: rows decoded together.
      chunk_tokens: decode steps between two looks of the host.
      stop: strings that end a response.
      place: puts input arrays where the parameters are (the mesh).
    """

    decoder: Decoder
    settings: DecodeSettings
    token_bytes: TokenBytes
    prompt_buckets: tuple[int, ...]
    slots: int
    chunk_tokens: int
    stop: tuple[str, ...]
    place: Callable[[Any], Any]

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        keys: Key[Array, " B"],
        *,
        samples: int,
    ) -> Iterator[tuple[int, Sample]]:
        """Samples every prompt ``samples`` times and yields rows in the order they finish.

        Args:
          prompts: none longer than the last bucket.
          keys: one a row; row ``i * samples + j`` is the j-th sample of prompt i.

        Yields:
          (row, sample). Tokens behind a stop string are cut off.

        Raises:
          ValueError: a prompt does not fit the longest bucket.
        """
        group = max(1, self.slots // samples)
        # Prompts of like length go together: a group is as wide as its longest.
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        for first in range(0, len(prompts), group):
            chosen = by_length[first : first + group]
            # A short last group is filled up with rows that never open: one compiled shape.
            filled = chosen + chosen[-1:] * (min(group, len(prompts)) - len(chosen))
            rows = np.add.outer(np.array(filled) * samples, np.arange(samples)).ravel()
            texts = [prompts[i] for i in filled]
            for row, sample in self._decode(params, texts, keys[rows], len(chosen), samples):
                yield int(rows[row]), sample

    def _decode(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        keys: Key[Array, " B"],
        wanted: int,
        samples: int,
    ) -> Iterator[tuple[int, Sample]]:
        """One group of rows from prefill to the end; only the first ``wanted`` prompts open."""
        open_rows = np.arange(len(prompts) * samples) < wanted * samples
        tokens, lengths = self._pad(prompts)
        state = prefill(
            params,
            *self.place((tokens, lengths)),
            *self.place((keys, jnp.asarray(~open_rows))),
            decoder=self.decoder,
            settings=self.settings,
            samples=samples,
        )
        while open_rows.any():
            state = decode_chunk(
                params,
                state,
                self.place(jnp.asarray(~open_rows)),
                decoder=self.decoder,
                settings=self.settings,
                steps=self.chunk_tokens,
            )
            for row, sample in self._finished(state, open_rows):
                open_rows[row] = False
                yield row, sample

    def _pad(self, prompts: Sequence[Prompt]) -> tuple[jax.Array, jax.Array]:
        longest = max(len(p.tokens) for p in prompts)
        fitting = [b for b in self.prompt_buckets if b >= longest]
        if not fitting:
            raise ValueError(
                f"a prompt has {longest} tokens, the longest bucket {self.prompt_buckets[-1]}:"
                " raise rollout.prompt_buckets"
            )
        tokens = np.full((len(prompts), fitting[0]), self.settings.pad_token, dtype=np.int32)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt.tokens)] = prompt.tokens
        lengths = np.array([len(p.tokens) for p in prompts], dtype=np.int32)
        return jnp.asarray(tokens), jnp.asarray(lengths)

    def _finished(self, state: DecodeState, open_rows: np.ndarray) -> Iterator[tuple[int, Sample]]:
        """Rows that ended in the last chunk, by themselves or by a stop string."""
        tokens, logprobs, written, is_done = jax.device_get(
            (state.tokens, state.logprobs, state.written, state.is_done)
        )
        for row in np.flatnonzero(open_rows):
            ids = tokens[row, : written[row]].tolist()
            kept = self._stop_length(ids)
            if kept is None and not is_done[row]:
                continue
            ended = kept is None and bool(ids) and ids[-1] == self.settings.end_token
            ids = ids[:kept]
            yield (
                int(row),
                Sample(
                    tokens=tuple(ids),
                    logprobs=tuple(logprobs[row, : len(ids)].tolist()),
                    stopped="stop_string" if kept else "end_token" if ended else "budget",
                ),
            )

    def _stop_length(self, ids: list[int]) -> int | None:
        """How many tokens reach the end of the first stop string; None without one."""
        if not self.stop:
            return None
        pieces = [self.token_bytes.join([i]) for i in ids]
        _, end = find_stop(b"".join(pieces), self.stop)
        if end is None:
            return None
        return int(np.searchsorted(np.cumsum([len(p) for p in pieces]), end)) + 1
