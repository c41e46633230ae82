"""Generation: rows are right, end when they should, and do not depend on their neighbours."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cpp_compiler import compiled

from stepcoder_jax.logprobs import token_logprobs
from stepcoder_jax.model import product as model_product
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.few_rows import few_rows_product
from stepcoder_jax.model.init import init_policy
from stepcoder_jax.model.serving import serving_params
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.sampling import decode, generate
from stepcoder_jax.sampling.decode import DecodeSettings
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.types import Prompt, Sample

END, PAD = 1, 0
DECODER = Decoder(config=SHAPES["tiny-test"])
# Larger than the usual initialisation, so that logits differ and rows end at different places.
PARAMS = jax.tree.map(lambda x: x * 6, init_policy(jax.random.key(0), DECODER.config))
SERVED = serving_params(PARAMS, dtype=jnp.float32)
SETTINGS = DecodeSettings(
    temperature=0.9, top_p=0.95, end_token=END, pad_token=PAD, max_new_tokens=14
)
SAMPLER = Sampler(
    decoder=DECODER,
    settings=SETTINGS,
    token_bytes=TokenBytes(table=(b"", b"", *(bytes([97 + i]) for i in range(11)))),
    prompt_buckets=(4, 8),
    slots=6,
    chunk_tokens=5,
    stop=(),
    place=lambda tree: tree,
)
PROMPTS = [
    Prompt(tokens=tokens, prefix_tokens=0) for tokens in [(2, 3, 4), (5,), (6, 7, 8, 9, 10, 2, 3)]
]


def run(sampler: Sampler, prompts: list[Prompt], samples: int, seed: int = 3) -> list[Sample]:
    keys = jax.random.split(jax.random.key(seed), len(prompts) * samples)
    rows = dict(sampler.generate(SERVED, prompts, keys, samples=samples))
    assert sorted(rows) == list(range(len(prompts) * samples))
    return [rows[i] for i in sorted(rows)]


@compiled
def test_the_kernel_for_few_rows_draws_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(kernel: jax.Array, rows: jax.Array) -> jax.Array:
        calls.append(kernel.shape)
        return few_rows_product(kernel, rows)

    monkeypatch.setattr(model_product, "few_rows_product", counted)
    by_xla = run(SAMPLER, PROMPTS, samples=3)
    assert not calls
    by_kernel = run(replace(SAMPLER, products="cpp"), PROMPTS, samples=3)
    config = DECODER.config
    heads = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    assert set(calls) == {
        (heads, config.hidden_size),
        (config.hidden_size, config.num_heads * config.head_dim),
        (2 * config.intermediate_size, config.hidden_size),
        (config.hidden_size, config.intermediate_size),
        (config.vocab_size, config.hidden_size),
    }
    for a, b in zip(by_xla, by_kernel, strict=True):
        assert (a.tokens, a.stopped) == (b.tokens, b.stopped)
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_logprobs_are_those_of_the_full_forward_pass() -> None:
    for row, sample in enumerate(run(SAMPLER, PROMPTS, samples=2)):
        prompt = PROMPTS[row // 2].tokens
        tokens = jnp.array([[*prompt, *sample.tokens]])
        hidden, _ = DECODER.apply({"params": PARAMS}, tokens, jnp.arange(tokens.shape[1])[None])
        scored = token_logprobs(
            hidden, lambda h: unembed(PARAMS, h), tokens, SETTINGS.temperature, 64, False
        )
        np.testing.assert_allclose(sample.logprobs, scored.logprobs[0, len(prompt) :], atol=1e-4)


def test_in_bfloat16_logprobs_are_those_of_the_full_forward_pass() -> None:
    """Logits are up to 8, which bfloat16 rounds by 2⁻⁶."""
    decoder = DECODER.clone(dtype="bfloat16")
    sampler = replace(SAMPLER, decoder=decoder)
    keys = jax.random.split(jax.random.key(3), 6)
    served = serving_params(PARAMS, dtype="bfloat16")
    for row, sample in sampler.generate(served, PROMPTS, keys, samples=2):
        prompt = PROMPTS[row // 2].tokens
        tokens = jnp.array([[*prompt, *sample.tokens]])
        hidden, _ = decoder.apply({"params": PARAMS}, tokens, jnp.arange(tokens.shape[1])[None])
        scored = token_logprobs(
            hidden, lambda h: unembed(PARAMS, h), tokens, SETTINGS.temperature, 64, False
        )
        np.testing.assert_allclose(sample.logprobs, scored.logprobs[0, len(prompt) :], atol=0.05)


def test_a_row_depends_on_its_own_key_and_prompt_only() -> None:
    keys = jax.random.split(jax.random.key(3), 6)
    together = run(SAMPLER, PROMPTS, samples=2)
    for row in range(6):
        alone = dict(SAMPLER.generate(SERVED, [PROMPTS[row // 2]], keys[row : row + 1], samples=1))[
            0
        ]
        assert alone.tokens == together[row].tokens
        np.testing.assert_allclose(alone.logprobs, together[row].logprobs, atol=1e-5)


def test_rows_beyond_the_slots_are_sampled_in_groups_without_a_change() -> None:
    wide = run(replace(SAMPLER, slots=64), PROMPTS * 3, samples=2)
    narrow = run(replace(SAMPLER, slots=4), PROMPTS * 3, samples=2)
    assert [s.tokens for s in wide] == [s.tokens for s in narrow]


def test_a_row_ends_at_its_end_token_or_at_its_budget() -> None:
    samples = run(SAMPLER, PROMPTS * 4, samples=3)
    assert {s.stopped for s in samples} == {"end_token", "budget"}
    for sample in samples:
        ended = sample.stopped == "end_token"
        assert (sample.tokens[-1] == END) == ended
        assert END not in sample.tokens[:-1]
        assert ended or len(sample.tokens) == SETTINGS.max_new_tokens
        assert len(sample.logprobs) == len(sample.tokens)


def test_a_stop_string_cuts_the_row_behind_its_last_token() -> None:
    free = run(SAMPLER, PROMPTS * 4, samples=3)
    texts = [SAMPLER.token_bytes.text(s.tokens) for s in free]
    stop = max((t[i : i + 2] for t in texts for i in range(len(t) - 1)), key="".join(texts).count)
    for before, after in zip(
        free, run(replace(SAMPLER, stop=(stop,)), PROMPTS * 4, samples=3), strict=True
    ):
        text = SAMPLER.token_bytes.text(before.tokens)
        if stop in text:
            assert after.stopped == "stop_string"
            assert SAMPLER.token_bytes.text(after.tokens) == text[: text.index(stop) + len(stop)]
        else:
            assert after == before


def test_greedy_rows_of_one_prompt_are_the_argmax_of_the_full_pass() -> None:
    greedy = replace(SAMPLER, settings=replace(SETTINGS, temperature=0.0))
    for row, sample in enumerate(run(greedy, PROMPTS, samples=1)):
        tokens = list(PROMPTS[row].tokens)
        for token in sample.tokens:
            hidden, _ = DECODER.apply(
                {"params": PARAMS}, jnp.array([tokens]), jnp.arange(len(tokens))[None]
            )
            assert token == int(jnp.argmax(unembed(PARAMS, hidden[0, -1])))
            tokens.append(token)


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Grows by one entry with every call of a compiled function of the engine."""
    calls: list[str] = []
    function = getattr(generate, name)

    def call(*arguments: object, **named: object) -> object:
        calls.append(name)
        return function(*arguments, **named)

    monkeypatch.setattr(generate, name, call)
    return calls


def compilations() -> list[int]:
    functions = (decode.prefill, decode.place_rows, decode.decode_chunk, decode._resized)
    return [function._cache_size() for function in functions]


def test_nothing_is_compiled_after_the_first_call_of_a_bucket() -> None:
    narrow = replace(SAMPLER, slots=4)
    run(narrow, PROMPTS * 2, samples=3)
    before = compilations()
    run(narrow, PROMPTS[::-1] * 2, samples=3, seed=9)
    run(narrow, PROMPTS[1:] * 3, samples=3, seed=10)
    assert compilations() == before


def test_everything_is_compiled_before_the_first_row_begins() -> None:
    endless = replace(SETTINGS, end_token=-1, max_new_tokens=256)
    sampler = replace(SAMPLER, settings=endless, slots=4, chunk_tokens=16, prefill_prompts=2)
    lengths = generate.cache_lengths(8, 256)
    assert len(lengths) == 4
    rng = np.random.default_rng(0)

    def sampled(budgets: list[int]) -> None:
        prompts = [
            PROMPTS[2],
            *(PROMPTS[i] for i in rng.integers(0, 3, len(budgets) - 2)),
            PROMPTS[1],
        ]
        keys = jax.random.split(jax.random.key(4), len(budgets))
        rows = dict(sampler.generate(SERVED, prompts, keys, samples=1, budgets=budgets))
        assert [len(rows[i].tokens) for i in range(len(budgets))] == budgets

    jax.clear_caches()
    sampled([1] * 9)
    after = compilations()
    # Two widths of prompts; each of them is moved into each length; each length to its neighbours.
    assert after == [2, 8, 4, 6]
    for _ in range(6):
        sampled(rng.integers(1, 257, 9).tolist())
    assert compilations() == after


def test_a_row_that_ends_makes_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = replace(SETTINGS, end_token=-1)
    sampler = replace(SAMPLER, settings=endless, slots=2, chunk_tokens=1)
    budgets = [14, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 14]
    keys = jax.random.split(jax.random.key(3), 12)
    steps = counted(monkeypatch, "decode_chunk")
    lengths, steps_at = {}, {}
    rows = sampler.generate(SERVED, PROMPTS * 4, keys, samples=1, budgets=budgets)
    for row, sample in rows:
        lengths[row], steps_at[row] = len(sample.tokens), len(steps)
    assert [lengths[row] for row in range(12)] == budgets
    # 38 tokens in two slots; in pairs of rows it would have been 32 steps.
    assert len(steps) <= 24
    # Rows are handed out while others go on.
    assert min(steps_at.values()) <= 3


def test_a_long_chunk_is_left_for_rows_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = replace(SETTINGS, end_token=-1)
    sampler = replace(SAMPLER, settings=endless, slots=2, chunk_tokens=14)
    keys = jax.random.split(jax.random.key(3), 12)
    chunks = counted(monkeypatch, "decode_chunk")
    # The row of the shortest prompt begins first.
    budgets = [1, 14, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    rows = sampler.generate(SERVED, PROMPTS * 4, keys, samples=1, budgets=budgets)
    assert sorted(row for row, _ in rows) == list(range(12))
    # One for each short row beside the long one; were chunks never left, there would be six.
    assert len(chunks) >= 11


def test_the_samples_of_a_prompt_share_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = counted(monkeypatch, "prefill")
    run(replace(SAMPLER, slots=3, prefill_prompts=1), PROMPTS, samples=5)
    assert len(readings) == len(PROMPTS)


@pytest.fixture
def growing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths that caches are given, where they have several to choose from."""
    monkeypatch.setattr(generate, "_LEAST_GROWTH", 2)
    lengths: list[int] = []

    def resized(state: decode.DecodeState, length: int) -> decode.DecodeState:
        if length != state.cache.slots:
            lengths.append(length)
        return decode.resized(state, length)

    monkeypatch.setattr(generate, "resized", resized)
    return lengths


def test_a_cache_that_grows_changes_no_row(growing: list[int]) -> None:
    alone = replace(SAMPLER, slots=2, chunk_tokens=3)
    grown = run(alone, PROMPTS * 2, samples=3)
    # It shrinks again when a long row has left.
    assert set(growing) <= {12, 15, 19, 22}
    assert any(b > a for a, b in pairwise(growing))
    assert any(b < a for a, b in pairwise(growing))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "_LEAST_GROWTH", 32)
        n_grown = len(growing)
        whole = run(alone, PROMPTS * 2, samples=3)
        assert len(growing) == n_grown
    assert [s.tokens for s in grown] == [s.tokens for s in whole]
    for a, b in zip(grown, whole, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_a_cache_is_no_longer_than_rows_need(growing: list[int]) -> None:
    keys = jax.random.split(jax.random.key(3), 3)
    list(SAMPLER.generate(SERVED, PROMPTS, keys, samples=1, budgets=[3] * 3))
    # 7 tokens of prompt and 3 of response, of 8 + 14: the shortest that there is.
    assert growing == []


@pytest.mark.parametrize(
    ("prompt", "response", "lengths"),
    [
        (128, 128, (192, 256)),
        (512, 1024, (768, 1024, 1280, 1536)),
        (128, 127, (255,)),
        (8, 14, (22,)),
        (1, 200, (68, 135, 201)),
        (0, 1025, (257, 513, 769, 1025)),
    ],
)
def test_the_lengths_of_a_cache(prompt: int, response: int, lengths: tuple[int, ...]) -> None:
    assert generate.cache_lengths(prompt, response) == lengths


def test_a_cache_that_was_resized_is_let_go() -> None:
    state = decode.empty_state(decoder=DECODER, settings=SETTINGS, slots=2, length=5)
    filled = replace(state, cache=jax.tree.map(lambda x: x + 1, state.cache))
    old = jax.tree.leaves(filled.cache)
    grown = decode.resized(filled, 8)
    assert all(array.is_deleted() for array in old)
    for layer in grown.cache.layers:
        for kept in (layer.keys, layer.values):
            assert kept.shape[2] == grown.cache.slots == 8
            np.testing.assert_array_equal(kept[:, :, :5], 1)
            np.testing.assert_array_equal(kept[:, :, 5:], 0)
    # What has that length already is not copied, nor let go.
    assert decode.resized(grown, 8) is grown
    shrunk = decode.resized(grown, 3)
    assert shrunk.cache.slots == 3
    for layer in shrunk.cache.layers:
        np.testing.assert_array_equal(layer.keys, 1)
        np.testing.assert_array_equal(layer.values, 1)


def test_budgets_hold_and_the_rows_before_them_stay_as_they_were() -> None:
    free = run(SAMPLER, PROMPTS, samples=2)
    keys = jax.random.split(jax.random.key(3), 6)
    rows = dict(SAMPLER.generate(SERVED, PROMPTS, keys, samples=2, budgets=[3] * 6))
    assert [rows[i].tokens for i in range(6)] == [s.tokens[:3] for s in free]
    assert {rows[i].stopped for i in range(6) if len(free[i].tokens) > 3} == {"budget"}


@pytest.mark.parametrize("budget", [0, 15])
def test_a_budget_that_is_not_to_be_had_is_refused(budget: int) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=r"budgets of .* 1 … 14"):
        list(SAMPLER.generate(SERVED, PROMPTS, keys, samples=1, budgets=[3, budget, 3]))


@pytest.mark.parametrize(
    ("keys", "budgets", "prompts", "named"),
    [
        (2, None, PROMPTS, "2 keys for 3 rows"),
        (3, [3, 3], PROMPTS, "2 budgets for 3 rows"),
        (1, None, [Prompt(tokens=(), prefix_tokens=0)], "prompt 0 has no token"),
    ],
)
def test_inputs_that_are_not_one_a_row_are_refused(
    keys: int, budgets: list[int] | None, prompts: list[Prompt], named: str
) -> None:
    several = jax.random.split(jax.random.key(0), keys)
    with pytest.raises(ValueError, match=named):
        list(SAMPLER.generate(SERVED, prompts, several, samples=1, budgets=budgets))


@pytest.mark.parametrize("name", ["slots", "prefill_prompts", "chunk_tokens"])
def test_a_sampler_that_could_do_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = 0"):
        replace(SAMPLER, **{name: 0})


def test_no_prompts_are_no_rows() -> None:
    assert run(SAMPLER, [], samples=2) == []


def test_a_prompt_that_fits_no_bucket_is_refused() -> None:
    with pytest.raises(ValueError, match=r"9 tokens.*8.*rollout.prompt_buckets"):
        run(SAMPLER, [Prompt(tokens=(2,) * 9, prefix_tokens=0)], samples=1)
