"""Supervised fine-tuning: packed rows train as the same examples one a row, and resume as well."""

import json
import signal
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_learner import CONFIG, LEARNER

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import (
    MeshConfig,
    ModelSettings,
    OptimizerConfig,
    RunConfig,
    SFTConfig,
)
from stepcoder_jax.config_checks import ConfigError
from stepcoder_jax.data.example_rows import ExampleRows, one_a_row, packed
from stepcoder_jax.data.prompts import Example
from stepcoder_jax.model.apply import hidden_states, segment_positions
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import init_policy
from stepcoder_jax.progress import Display
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sft import SFTBatch, SFTPhase, SFTStep, init_sft_state, sft_update
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.types import Params, TrainState

WIDTH, PAD, STEPS = 24, 0, 5
# A step along the gradient itself, none of it clipped: what changes is the gradient.
PLAIN = OptimizerConfig(name="momentum", b1=0.0, learning_rate=1.0, max_grad_norm=1e9)
STEP = SFTStep(policy=LEARNER.policy, optimizer=PLAIN, total_steps=STEPS, logprob_chunk_tokens=1000)


def random_examples(count: int) -> list[Example]:
    generator = np.random.default_rng(0)
    return [
        Example(
            tokens=tuple(generator.integers(1, CONFIG.vocab_size, length).tolist()),
            answer_tokens=int(generator.integers(1, length)),
        )
        for length in generator.integers(2, 12, count)
    ]


def policy() -> Params:
    """Far from uniform, so that what a token sees matters."""
    return jax.tree.map(lambda x: x * 5, init_policy(jax.random.key(0), CONFIG))


def batch_of(rows: ExampleRows, *, is_packed: bool) -> SFTBatch:
    return SFTBatch(
        tokens=jnp.asarray(rows.tokens),
        is_answer=jnp.asarray(rows.is_answer),
        segments=jnp.asarray(rows.segments) if is_packed else None,
    )


def step_on(batch: SFTBatch, step: SFTStep = STEP) -> tuple[float, Params]:
    """The loss, and its gradient by every parameter."""
    before = policy()
    state, loss = sft_update(init_sft_state(step, policy()), batch, step=step)
    return float(loss), jax.tree.map(lambda a, b: a - b, before, state.policy)


def distance(a: Params, b: Params) -> float:
    """Norm of the difference, relative to that of ``a``."""
    flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]).astype(float) for t in (a, b)]
    return float(np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[0]))


@pytest.mark.parametrize("chunk", [1000, 16])
@pytest.mark.parametrize("remat", ["none", "layer"])
def test_packed_rows_have_the_loss_and_the_gradient_of_the_same_examples_one_a_row(
    chunk: int, remat: str
) -> None:
    step = replace(STEP, policy=LEARNER.policy.clone(remat=remat), logprob_chunk_tokens=chunk)
    examples = random_examples(9)
    rows = packed(examples, WIDTH, PAD, seed=0)
    assert len(rows) < len(examples)
    loss, gradient = step_on(batch_of(one_a_row(examples, WIDTH, PAD), is_packed=False), step)
    found_loss, found = step_on(batch_of(rows, is_packed=True), step)
    assert abs(found_loss - loss) < 1e-5 * abs(loss)
    assert distance(gradient, found) < 1e-5


def test_without_segments_the_same_rows_have_another_gradient() -> None:
    rows = packed(random_examples(9), WIDTH, PAD, seed=0)
    _, gradient = step_on(batch_of(rows, is_packed=True))
    _, found = step_on(batch_of(rows, is_packed=False))
    assert distance(gradient, found) > 0.01


def test_what_stands_beside_an_example_changes_nothing_in_it() -> None:
    rows = packed(random_examples(9), WIDTH, PAD, seed=0)
    segments, tokens = jnp.asarray(rows.segments), rows.tokens
    read = partial(hidden_states, LEARNER.policy, policy(), segments=segments)
    plain = read(jnp.asarray(tokens))
    for number in range(1, int(rows.segments.max()) + 1):
        own = rows.segments == number
        other = np.where(own, tokens, (tokens + 5) % CONFIG.vocab_size).astype(np.int32)
        assert np.any(other != tokens)
        np.testing.assert_array_equal(read(jnp.asarray(other))[own], plain[own])


def test_positions_begin_anew_with_every_segment() -> None:
    segments = jnp.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 3, 3]])
    expected = [[0, 1, 2, 0, 1, 0], [0, 0, 0, 1, 2, 3]]
    assert segment_positions(segments).tolist() == expected


def test_packed_rows_are_read_at_the_positions_of_their_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rope sees differences of positions alone, so no other test would notice."""

    def show(self: Decoder, variables: dict, tokens: jax.Array, at: jax.Array, **_: object) -> list:
        return [at[..., None].astype(jnp.float32)]

    monkeypatch.setattr(Decoder, "apply", show)
    segments = jnp.array([[1, 1, 2, 2, 2, 0]])
    read = partial(hidden_states, LEARNER.policy, {}, segments)
    assert read()[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert read(segments=segments)[0, :, 0].tolist() == [0, 1, 0, 1, 2, 0]


def test_packing_is_refused_where_the_kernel_cannot_keep_examples_apart() -> None:
    model = ModelSettings(attention="cudnn", dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"sft\.packing = True: model\.attention = cudnn"):
        RunConfig(model=model, sft=SFTConfig(packing=True))
    RunConfig(model=model)


class StopAt(StopRequest):
    """Asks for a stop before the n-th step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.signal = signal.SIGTERM
        super().check()


def fine_tuned(
    folder: Path,
    *,
    is_packed: bool,
    stops: Sequence[int] = (),
    step: SFTStep = STEP,
    checkpoint_every: int = 100,
) -> TrainState:
    """The phase's last state, after being stopped before the given steps of each begun anew."""
    # Fewer rows than the steps take: the last steps are in the second pass.
    config = SFTConfig(steps=STEPS, batch=2, row_tokens=WIDTH, packing=is_packed)
    examples = random_examples(20 if is_packed else 8)
    rows = packed(examples, WIDTH, PAD, seed=7) if is_packed else one_a_row(examples, WIDTH, PAD)
    assert config.batch < len(rows) < config.batch * STEPS
    for stop in (*map(StopAt, stops), StopRequest()):
        with (
            closing(RunDir.open(RunConfig(run_dir=folder, sft=config))) as run,
            closing(CheckpointStore(run.checkpoints("sft"), keep=1)) as store,
        ):
            phase = SFTPhase(
                step=step,
                frozen=None,
                config=config,
                rows=rows,
                seed=7,
                mesh=make_mesh(MeshConfig()),
                run=run,
                display=Display(),
                stop=stop,
                checkpoint_every=checkpoint_every,
            )
            state = init_sft_state(step, policy())
            state = state if store.latest is None else store.restore(state).state
            try:
                return phase.train(state, store)
            except Interrupted:
                continue
    raise AssertionError("the last attempt is not stopped")


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_phase_stopped_in_the_middle_of_a_pass_ends_as_one_that_was_not(
    tmp_path: Path, is_packed: bool
) -> None:
    whole = fine_tuned(tmp_path / "whole", is_packed=is_packed)
    parts = fine_tuned(tmp_path / "parts", is_packed=is_packed, stops=(2, 3))
    jax.tree.map(np.testing.assert_array_equal, parts.policy, whole.policy)
    rows = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        for name in ("whole", "parts")
    ]
    assert rows[0]["used_fraction"] == rows[1]["used_fraction"]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert (rows[0]["used_fraction"] > 0.8) == is_packed


@pytest.mark.parametrize(("stops", "checkpoint_every", "saved"), [((3,), 100, 0), ((), 1, 1)])
def test_parameters_that_are_not_finite_are_not_saved(
    tmp_path: Path, stops: Sequence[int], checkpoint_every: int, saved: int
) -> None:
    """The first step makes them huge, the second not finite; the loss is seen after the 5th."""
    hasty = replace(STEP, optimizer=replace(PLAIN, learning_rate=1e30))
    with pytest.raises(FloatingPointError, match=r"sft step 2: parameters .* were not saved"):
        fine_tuned(
            tmp_path, is_packed=True, stops=stops, step=hasty, checkpoint_every=checkpoint_every
        )
    with closing(CheckpointStore(tmp_path / "checkpoints" / "sft", keep=1)) as store:
        assert (store.latest or 0) == saved
