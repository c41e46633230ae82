"""The host half of generation: prompts in, finished samples out as soon as they are finished.

Continuous batching: rows are decoded in a fixed number of slots; one that has ended leaves at the
next look of the host, and the next row takes its slot.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.few_rows import Products
from stepcoder_jax.model.serving import serving_decoder
from stepcoder_jax.placement import fetch
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.sampling.decode import (
    DecodeSettings,
    DecodeState,
    Placing,
    ReadPrompts,
    decode_chunk,
    empty_state,
    place_rows,
    prefill,
    resized,
)
from stepcoder_jax.sampling.stops import StopFinder
from stepcoder_jax.sampling.warm_up import warm_up
from stepcoder_jax.sharding import rounded_up
from stepcoder_jax.types import Params, Prompt, Sample

# Where rows wait, decoding is left for them as soon as this share of the slots is free.
_FREE_SHARE = 8

# Lengths that the cache has, at most, and tokens from one to the next, at least: each is compiled
# for itself, and the cache is copied to be longer.
_MOST_LENGTHS, _LEAST_GROWTH = 4, 64


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Everything about generation that does not change from call to call.

    Attributes:
      decoder: as it is trained.
      prompt_buckets: allowed prompt widths, ascending; prompts are read at the smallest that fits,
        so that at most this many programs are compiled for each.
      slots: rows decoded together; on a mesh rounded up, so that each device has as many.
      prefill_prompts: prompts read together, rounded up likewise; the samples of a prompt share one
        reading.
      chunk_tokens: decode steps between two looks of the host, at most.
      stop: strings that end a response.
      place: puts input arrays where the parameters are (the mesh).
      products: what multiplies few rows on a CPU, as ``choose_products`` says.
    """

    decoder: Decoder
    settings: DecodeSettings
    token_bytes: TokenBytes
    prompt_buckets: tuple[int, ...]
    slots: int
    chunk_tokens: int
    stop: tuple[str, ...]
    place: Callable[[Any], Any]
    prefill_prompts: int = 8
    products: Products = "xla"

    def __post_init__(self) -> None:
        """Raises ValueError where nothing could ever be sampled."""
        for name in ("slots", "prefill_prompts", "chunk_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: at least 1")

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        keys: Key[Array, " B"],
        *,
        samples: int,
        budgets: Sequence[int] | None = None,
        when_decoded: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, Sample]]:
        """Samples every prompt ``samples`` times and yields rows in the order they finish.

        Args:
          params: of the policy, as ``serving_params`` arranges them.
          prompts: none longer than the last bucket.
          keys: one a row; row ``i * samples + j`` is the j-th sample of prompt i.
          budgets: the most tokens of each row, at most ``max_new_tokens``, which is the default.
          when_decoded: called once, when no row is decoded any more; the last are yielded then.

        Yields:
          (row, sample). Tokens behind a stop string are cut off.

        Raises:
          ValueError: a prompt is empty or does not fit the longest bucket, a budget is not to be
            had, or there are not as many keys and budgets as rows.
        """
        if prompts:
            yield from _Batch(self, params, prompts, keys, samples, budgets).run(when_decoded)

    @cached_property
    def _warm(self) -> set[tuple[Any, ...]]:
        """Sizes for which everything has been compiled."""
        return set()

    def warm_up(
        self,
        params: Params,
        *,
        slots: int,
        prompts: int,
        lengths: tuple[int, ...],
        widths: set[int],
    ) -> None:
        """Compiles what a call of these sizes needs, the first time; as ``warm_up.warm_up``."""
        sizes = (slots, prompts, lengths, *sorted(widths))
        if sizes not in self._warm:
            warm_up(
                params,
                decoder=self.decoder,
                serving=self.serving,
                settings=self.settings,
                slots=slots,
                lengths=lengths,
                widths=sorted(widths),
                prompts=prompts,
                steps=self.chunk_tokens,
                place=self.place,
            )
            self._warm.add(sizes)

    def width(self, prompts: Sequence[Prompt]) -> int:
        """The smallest bucket that holds the prompts. Raises ValueError if none does."""
        at = max(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        longest = len(prompts[at].tokens)
        fitting = [b for b in self.prompt_buckets if b >= longest]
        if not fitting:
            raise ValueError(
                f"prompt {at} has {longest} tokens, the longest bucket {self.prompt_buckets[-1]}:"
                " raise rollout.prompt_buckets"
            )
        return fitting[0]

    @cached_property
    def serving(self) -> Decoder:
        """The decoder as it generates."""
        return serving_decoder(self.decoder, self.products)


def cache_lengths(prompt: int, response: int) -> tuple[int, ...]:
    """Tokens of a row that the cache has room for, ascending.

    A step of decoding reads all that there is room for, so it pays to have no more than rows need
    by then; and every length is compiled for itself, so there are few.

    Args:
      prompt: tokens of the longest prompt.
      response: tokens of the longest response.
    """
    n_lengths = max(1, min(_MOST_LENGTHS, response // _LEAST_GROWTH))
    return tuple(prompt + -(-response * i // n_lengths) for i in range(1, n_lengths + 1))


@dataclass(kw_only=True)
class _Row:
    """A row that is being decoded: its tokens at the beginning of its response, and at the most."""

    row: int
    begin: int
    end: int
    stops: StopFinder

    def reach(self, steps: int) -> int:
        """Its tokens after so many more."""
        return min(self.begin + self.stops.n_tokens + steps, self.end)


def _check_rows(n_rows: int, keys: Key[Array, " B"], budgets: Sequence[int] | None) -> None:
    """Indices beyond the end are clamped on a device: rows would share a key."""
    if n_rows < 1:
        raise ValueError("samples must be at least 1")
    for name, given in (("keys", keys), ("budgets", budgets)):
        if given is not None and len(given) != n_rows:
            raise ValueError(f"{len(given)} {name} for {n_rows} rows: one a row")


class _Batch:
    """One call: the rows that wait, the prompts that have been read, and the rows in the slots."""

    def __init__(
        self,
        sampler: Sampler,
        params: Params,
        prompts: Sequence[Prompt],
        keys: Key[Array, " B"],
        samples: int,
        budgets: Sequence[int] | None,
    ) -> None:
        self._sampler, self._prompts, self._samples = sampler, prompts, samples
        n_rows = len(prompts) * samples
        _check_rows(n_rows, keys, budgets)
        empty = [i for i, prompt in enumerate(prompts) if not prompt.tokens]
        if empty:
            raise ValueError(f"prompt {empty[0]} has no token: there is nothing to go on from")
        self._keys = keys
        most = sampler.settings.max_new_tokens
        self._budgets = np.full(n_rows, most) if budgets is None else np.asarray(budgets)
        least, largest = self._budgets.min(), self._budgets.max()
        if least < 1 or largest > most:
            raise ValueError(f"budgets of {least} … {largest} tokens: each must be in 1 … {most}")
        # Prompts of like length are read together: all are as wide as the longest.
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i].tokens))
        self._unread = deque(by_length)
        self._waiting = deque(i * samples + j for i in by_length for j in range(samples))
        self._reading: dict[int, int] = {}
        self._read: ReadPrompts | None = None
        n_slots = rounded_up(min(sampler.slots, n_rows), "batch")
        self._slots: list[_Row | None] = [None] * n_slots
        self._lengths = cache_lengths(sampler.width(prompts), most)
        self._params = params
        self._n_read = rounded_up(min(sampler.prefill_prompts, len(prompts)), "batch")
        sampler.warm_up(
            params,
            slots=n_slots,
            prompts=self._n_read,
            lengths=self._lengths,
            widths={sampler.width([prompt]) for prompt in prompts},
        )
        self._state = empty_state(
            decoder=sampler.decoder,
            settings=sampler.settings,
            slots=n_slots,
            length=self._lengths[0],
        )

    def run(self, when_decoded: Callable[[], None]) -> Iterator[tuple[int, Sample]]:
        """Yields rows as they finish, while the others go on."""
        self._fill()
        self._decode()
        while any(self._slots):
            finished = self._finished()
            self._fill()
            # At work on the next chunk before the caller is, on what has finished.
            self._decode()
            if not any(self._slots):
                when_decoded()
            yield from finished

    def _fill(self) -> None:
        """Begin waiting rows in the free slots."""
        free = deque(slot for slot, row in enumerate(self._slots) if row is None)
        while free and self._waiting:
            if self._waiting[0] // self._samples not in self._reading:
                self._read_more()
            self._place(free)

    def _read_more(self) -> None:
        """Read the next prompts, in the place of those that all rows have begun from."""
        sampler, n_read = self._sampler, self._n_read
        chosen = [self._unread.popleft() for _ in range(min(n_read, len(self._unread)))]
        # Fewer than usual are filled up: one compiled shape.
        filled = [self._prompts[i] for i in chosen + chosen[-1:] * (n_read - len(chosen))]
        width = sampler.width(filled)
        tokens = np.full((n_read, width), sampler.settings.pad_token, np.int32)
        for row, prompt in zip(tokens, filled, strict=True):
            row[: len(prompt.tokens)] = prompt.tokens
        lengths = np.array([len(p.tokens) for p in filled], np.int32)
        arrays = sampler.place((tokens, lengths))
        self._read = prefill(self._params, *arrays, decoder=sampler.serving)
        self._reading = {prompt: place for place, prompt in enumerate(chosen)}

    def _place(self, free: deque[int]) -> None:
        """Begin rows of the prompts read last."""
        n_slots = len(self._slots)
        is_new = np.zeros(n_slots, bool)
        prompts, rows = np.zeros(n_slots, np.int32), np.zeros(n_slots, np.int32)
        while free and self._waiting and self._waiting[0] // self._samples in self._reading:
            row, slot = self._waiting.popleft(), free.popleft()
            is_new[slot], prompts[slot] = True, self._reading[row // self._samples]
            rows[slot] = row
            stops = StopFinder(self._sampler.token_bytes, self._sampler.stop)
            begin = len(self._prompts[row // self._samples].tokens)
            end = begin + int(self._budgets[row])
            self._slots[slot] = _Row(row=row, begin=begin, end=end, stops=stops)
        placing = Placing(
            is_new=jnp.asarray(is_new),
            prompts=jnp.asarray(prompts),
            budget=jnp.asarray(self._budgets[rows].astype(np.int32)),
            keys=self._keys[rows],
        )
        self._state = place_rows(
            self._state,
            self._read,
            self._sampler.place(placing),
            settings=self._sampler.settings,
        )

    def _decode(self) -> None:
        if not any(self._slots):
            return
        sampler = self._sampler
        reach = max(row.reach(sampler.chunk_tokens) for row in self._slots if row)
        self._resize(next(length for length in self._lengths if length >= reach))
        is_free = np.array([row is None for row in self._slots])
        enough = len(self._slots)
        if self._waiting:
            enough = int(is_free.sum()) + max(1, enough // _FREE_SHARE)
        self._state = decode_chunk(
            self._params,
            self._state,
            *sampler.place((is_free, np.int32(enough))),
            decoder=sampler.serving,
            settings=sampler.settings,
            steps=sampler.chunk_tokens,
        )

    def _resize(self, length: int) -> None:
        """By one length at a time: from each to each would be many programs."""
        at, to = self._lengths.index(self._state.cache.slots), self._lengths.index(length)
        step = 1 if to > at else -1
        for i in range(at, to, step):
            self._state = resized(self._state, self._lengths[i + step])

    def _finished(self) -> list[tuple[int, Sample]]:
        """Rows that ended in the last chunk, by themselves or by a stop string."""
        state: DecodeState = self._state
        tokens, logprobs, written, is_done = fetch(
            (state.tokens, state.logprobs, state.written, state.is_done)
        )
        finished = []
        for slot, row in enumerate(self._slots):
            if row is None:
                continue
            ids = tokens[slot, : written[slot]]
            is_stopped = row.stops.feed(ids[row.stops.n_tokens :].tolist())
            if not is_stopped and not is_done[slot]:
                continue
            ids = ids[: row.stops.n_tokens].tolist()
            ended = bool(ids) and ids[-1] == self._sampler.settings.end_token
            sample = Sample(
                tokens=tuple(ids),
                logprobs=tuple(logprobs[slot, : len(ids)].tolist()),
                stopped="stop_string" if is_stopped else "end_token" if ended else "budget",
            )
            finished.append((row.row, sample))
            self._slots[slot] = None
        return finished
