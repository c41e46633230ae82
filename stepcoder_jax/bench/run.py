"""Timing a piece of work, and saying how near it comes to what the device allows."""

import resource
import sys
from typing import Any

import jax
import numpy as np

from stepcoder_jax.bench.limits import (
    known_chip,
    matmul_rate,
    memory_rate,
    sampling_bytes,
    seconds_of,
    update_flops,
)
from stepcoder_jax.bench.settings import BenchSettings
from stepcoder_jax.bench.work import make_work


def run_bench(settings: BenchSettings, *, runs: int) -> dict[str, Any]:
    """Measures one piece of work.

    Args:
      runs: timed runs, after one that compiles.

    Returns:
      Median, least and greatest tokens a second (of the response for ``rollout``, of whole rows
      otherwise), the runs' seconds, the compile time, and the peak memory: resident, and of an
      accelerator (all that has run in this process counts). For an update also its share of what
      the device's matrix products allow (``matmul_share``) and, where the maker's figure is known,
      of that (``mfu``); for a rollout its share of what the device's memory allows.

    Raises:
      ConfigError: a backend of attention that cannot run here.
    """
    work = make_work(settings)
    one_run = work.one_run()
    lengths = work.lengths()
    seconds = seconds_of(one_run, runs)
    # Before anything else takes memory.
    peaks = _peak_bytes()
    limit = _limit(settings)
    prompts = 0 if settings.what == "rollout" else settings.prompt_tokens * settings.n_rows
    tokens = int(lengths.sum()) + prompts
    rates = sorted(tokens / s for s in seconds[1:])
    median = float(np.median(seconds[1:]))
    return {
        "what": settings.what,
        "shape": settings.shape,
        "dtype": settings.dtype,
        "device": jax.devices()[0].device_kind,
        "rows": settings.n_rows,
        "prompt_tokens": settings.prompt_tokens,
        "response_tokens": settings.response_tokens,
        "lengths": settings.lengths,
        "attention": settings.attention,
        "products": work.sampler.products,
        "prefill_prompts": settings.prefill_prompts,
        "microbatches": settings.microbatches,
        "remat": settings.remat,
        "unroll": settings.unroll,
        "tokens_per_s": round(float(np.median(rates)), 2),
        "tokens_per_s_min": round(rates[0], 2),
        "tokens_per_s_max": round(rates[-1], 2),
        "seconds": [round(s, 4) for s in seconds[1:]],
        "first_call_s": round(seconds[0], 2),
        **peaks,
        **_shares(settings, lengths, median, limit),
    }


def _limit(settings: BenchSettings) -> float:
    """What bounds this work: bytes a second for sampling, operations for an update."""
    match settings.what:
        case "rollout":
            return memory_rate()
        case "update":
            return matmul_rate(settings.dtype)
        case "iteration":
            return 0.0


def _shares(
    settings: BenchSettings, lengths: np.ndarray, seconds: float, limit: float
) -> dict[str, float]:
    match settings.what:
        case "rollout":
            read = sampling_bytes(settings, lengths) / seconds
            return {
                "memory_bytes_per_s": round(limit),
                "read_bytes_per_s": round(read),
                "memory_share": round(read / limit, 3),
            }
        case "update":
            done = update_flops(settings) / seconds
            chip = known_chip()
            return {
                "matmul_flops_per_s": round(limit),
                "model_flops_per_s": round(done),
                "matmul_share": round(done / limit, 3),
                **({} if chip is None else {"mfu": round(done / chip.flops_per_s, 3)}),
            }
        case "iteration":
            return {}


def _peak_bytes() -> dict[str, int]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_rss_bytes": peak if sys.platform == "darwin" else peak * 1024}
    on_device = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return found if on_device is None else {**found, "peak_device_bytes": on_device}
