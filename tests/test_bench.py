"""What the benchmark says of the work: counts held against loops, and what it refuses."""

import itertools
import json

import numpy as np
import pytest

from stepcoder_jax.bench import BenchSettings, run_bench
from stepcoder_jax.bench.limits import sampling_bytes, update_flops
from stepcoder_jax.cli import main
from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.config import SHAPES

TINY = SHAPES["tiny-test"]
# By hand: D = 16, 4 query and 2 key/value heads of 4, ffn 32; two norms of a layer, one behind.
LAYER = 16 * (4 + 2 + 2) * 4 + 16 * 16 + 3 * 16 * 32 + 2 * 16
TABLE = 13 * 16


def test_an_update_is_6_operations_for_every_weight_that_a_token_meets():
    settings = BenchSettings(
        what="update", shape="tiny-test", rows=4, prompt_tokens=3, response_tokens=5
    )
    layers = LAYER + 16
    assert update_flops(settings) == 6 * (4 * 8 * 2 * layers + 4 * 5 * TABLE)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_decoding_reads_all_weights_once_a_step_and_the_past_of_each_row(dtype, size):
    lengths = np.array([3, 1, 2, 4])
    settings = BenchSettings(
        what="rollout", shape="tiny-test", rows=2, prompt_tokens=7, dtype=dtype
    )
    a_token = 2 * TINY.num_layers * TINY.num_kv_heads * TINY.head_dim
    seen = sum(7 + k for n in lengths for k in range(1, n + 1))
    steps = 5  # ten tokens, two rows at a time
    expected = size * (steps * (LAYER + 16 + TABLE) + a_token * seen)
    assert sampling_bytes(settings, lengths) == expected


@pytest.mark.parametrize("what", ["rollout", "update", "iteration"])
def test_every_work_says_how_fast_it_was_and_how_far_from_its_limit(what):
    settings = BenchSettings(
        what=what, shape="tiny-test", rows=4, prompt_tokens=6, response_tokens=5
    )
    found = run_bench(settings, runs=3)
    rates = [found[f"tokens_per_s{which}"] for which in ("_min", "", "_max")]
    assert all(a <= b for a, b in itertools.pairwise(rates))
    assert len(found["seconds"]) == 3
    tokens = 4 * (5 if what == "rollout" else 11)
    assert found["tokens_per_s"] == pytest.approx(tokens / np.median(found["seconds"]), rel=0.05)
    assert found["peak_rss_bytes"] > 0
    share = {"rollout": "memory_share", "update": "matmul_share", "iteration": None}[what]
    assert [key for key in found if key.endswith("_share")] == ([share] if share else [])


def test_responses_of_unequal_length_take_several_rounds_of_slots(capsys):
    flags = ["--shape", "tiny-test", "--rows", "2", "--lengths", "geometric", "--runs", "1"]
    assert main(["bench", "rollout", *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["rows"] == 8
    assert found["lengths"] == "geometric"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"shape": "huge"}, ["huge", "small"]),
        ({"attention": "flash"}, ["flash", "cudnn"]),
        ({"products": "fast"}, ["fast", "cpp"]),
        ({"what": "update", "rows": 6, "microbatches": 4}, ["4", "6"]),
        ({"what": "update", "lengths": "geometric"}, ["geometric", "update"]),
    ],
)
def test_work_that_cannot_be_done_is_refused_with_the_option(changed, named):
    with pytest.raises(ConfigError) as refused:
        BenchSettings(**{"what": "rollout", **changed})
    assert all(word in str(refused.value) for word in named)
