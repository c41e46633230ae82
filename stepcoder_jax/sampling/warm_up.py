"""Everything that sampling compiles, compiled before the first row begins."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.sampling.decode import (
    DecodeSettings,
    Placing,
    decode_chunk,
    empty_state,
    place_rows,
    prefill,
    resized,
)
from stepcoder_jax.types import Params


def warm_up(
    params: Params,
    *,
    decoder: Decoder,
    serving: Decoder,
    settings: DecodeSettings,
    slots: int,
    lengths: Sequence[int],
    widths: Sequence[int],
    prompts: int,
    steps: int,
    place: Callable[[Any], Any],
) -> None:
    """Runs each program of generation once, on slots without rows.

    A program is compiled when it is first run. What rows would need in the end depends on when they
    end; so without this something is compiled in the middle of a run now and then.

    Args:
      params: of the policy, as ``serving_params`` arranges them.
      decoder: as it is trained.
      serving: as it generates.
      slots: rows decoded together, S.
      lengths: tokens of a row that the cache has room for, ascending.
      widths: at which prompts are read.
      prompts: read together.
      steps: of a chunk.
      place: puts input arrays where the parameters are.
    """
    state = empty_state(decoder=decoder, settings=settings, slots=slots, length=lengths[0])
    nowhere = Placing(
        is_new=jnp.zeros(slots, bool),
        prompts=jnp.zeros(slots, jnp.int32),
        budget=jnp.zeros(slots, jnp.int32),
        keys=state.keys.copy(),
    )
    is_free = np.ones(slots, bool)
    for width in widths:
        tokens = np.full((prompts, width), settings.pad_token, np.int32)
        arrays = place((tokens, np.ones(prompts, np.int32)))
        read = prefill(params, *arrays, decoder=serving)
        for length in (*lengths, *reversed(lengths[:-1])):
            state = resized(state, length)
            state = place_rows(state, read, place(nowhere), settings=settings)
            # All slots are done, so no step is taken.
            state = decode_chunk(
                params,
                state,
                *place((is_free, np.int32(slots))),
                decoder=serving,
                settings=settings,
                steps=steps,
            )
