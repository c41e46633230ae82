"""Supervised fine-tuning on canonical solutions: the phase before PPO, or a command of its own."""

import time
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import WHOLE_MODELS, LoRAConfig, OptimizerConfig, SFTConfig
from stepcoder_jax.data.example_rows import ExampleRows
from stepcoder_jax.data.order import ProblemOrder, own_rows
from stepcoder_jax.finite import all_finite
from stepcoder_jax.logprobs import token_logprobs
from stepcoder_jax.masked import masked_mean
from stepcoder_jax.model.apply import hidden_states
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.lora import policy_weights
from stepcoder_jax.optimizer import make_optimizer
from stepcoder_jax.placement import place_own_rows
from stepcoder_jax.progress import Display
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sharding import Mesh
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.types import Params, TrainState

# Steps between two lines of the log: reading a loss waits for the device.
LOG_EVERY = 10


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SFTBatch:
    """Right-padded rows; the loss is over ``is_answer``, the end token included.

    ``segments`` is as in ``ExampleRows`` where rows are packed, None where each is one example.
    """

    tokens: Int[Array, "B T"]
    is_answer: Bool[Array, "B T"]
    segments: Int[Array, "B T"] | None = None


@dataclass(frozen=True, kw_only=True)
class SFTStep:
    """What a compiled step depends on besides shapes."""

    policy: Decoder
    optimizer: OptimizerConfig
    total_steps: int
    logprob_chunk_tokens: int
    lora: LoRAConfig = WHOLE_MODELS

    def make_optimizer(self) -> optax.GradientTransformation:
        """The policy's optimizer in this phase."""
        return make_optimizer(self.optimizer, self.total_steps)


def init_sft_state(step: SFTStep, policy: Params) -> TrainState:
    """State before the first step; there are neither critic nor reference yet."""
    return TrainState(
        step=jnp.int32(0),
        policy=policy,
        critic={},
        policy_opt=step.make_optimizer().init(policy),
        critic_opt={},
        beta=jnp.float32(0.0),
    )


@partial(jax.jit, static_argnames=("step",), donate_argnames=("state",))
def sft_update(
    state: TrainState, batch: SFTBatch, *, step: SFTStep, frozen: Params | None = None
) -> tuple[TrainState, Float[Array, ""]]:
    """One step on the mean negative log-probability of the batch's answer tokens.

    Args:
      frozen: what the policy's adapters are added to; None where the whole policy is trained.
    """

    def loss(params: Params) -> Float[Array, ""]:
        weights = policy_weights(params, frozen, step.lora)
        hidden = hidden_states(
            step.policy, weights.params, batch.tokens, weights.adapters, batch.segments
        )
        head = partial(unembed, weights.params)
        scored = token_logprobs(hidden, head, batch.tokens, 1.0, step.logprob_chunk_tokens, False)
        return -masked_mean(scored.logprobs, batch.is_answer, jnp.sum(batch.is_answer))

    value, grads = jax.value_and_grad(loss)(state.policy)
    updates, opt = step.make_optimizer().update(grads, state.policy_opt, state.policy)
    policy = optax.apply_updates(state.policy, updates)
    return replace(state, step=state.step + 1, policy=policy, policy_opt=opt), value


@dataclass(frozen=True, kw_only=True)
class SFTPhase:
    """The host loop of the phase: resumable, and the same however often it was interrupted.

    Attributes:
      frozen: as for ``sft_update``.
      rows: packed where the recipe says so; all processes hold the same.
    """

    step: SFTStep
    frozen: Params | None
    config: SFTConfig
    rows: ExampleRows
    seed: int
    mesh: Mesh
    run: RunDir
    display: Display
    stop: StopRequest
    checkpoint_every: int

    def train(self, state: TrainState, store: CheckpointStore) -> TrainState:
        """Takes the steps that are left after ``state`` and saves the last one.

        Raises:
          Interrupted: a stop was asked for; the state is saved.
          FloatingPointError: the loss, or what would be saved, is not finite.
        """
        order = ProblemOrder(len(self.rows), seed=self.seed)
        done = int(state.step)
        with self.display.phase("sft", self.config.steps, done) as meter:
            mark = time.monotonic()
            for number in range(done, self.config.steps):
                try:
                    self.stop.check()
                except Interrupted:
                    self._save(store, number, state)
                    store.wait()
                    raise
                chosen = order.take(number * self.config.batch, self.config.batch)
                state, loss = sft_update(
                    state, self._batch(chosen), step=self.step, frozen=self.frozen
                )
                if (number + 1) % LOG_EVERY == 0 or number + 1 == self.config.steps:
                    used = self.rows.take(chosen).used_fraction
                    value = self._log(number + 1, float(loss), used, time.monotonic() - mark)
                    meter(number + 1, value)
                    mark = time.monotonic()
                if (number + 1) % self.checkpoint_every == 0 or number + 1 == self.config.steps:
                    self._save(store, number + 1, state)
        store.wait()
        return state

    def _batch(self, chosen: Int[np.ndarray, " batch"]) -> SFTBatch:
        """The step's rows on the mesh, fed by the processes together."""
        process, processes = jax.process_index(), jax.process_count()
        own = own_rows(len(chosen), "sft.batch", process=process, processes=processes)
        rows = self.rows.take(chosen[own])
        fields = {
            "tokens": rows.tokens,
            "is_answer": rows.is_answer,
            "segments": rows.segments if self.config.packing else None,
        }
        return SFTBatch(**place_own_rows(fields, len(chosen), self.mesh))

    def _save(self, store: CheckpointStore, number: int, state: TrainState) -> None:
        # The loss is from before the step, and not looked at after every one.
        if not all_finite((state.policy, state.policy_opt)):
            raise FloatingPointError(
                f"sft step {number}: parameters or moments are not finite, and were not saved;"
                " lower sft.optimizer.learning_rate"
            )
        store.save(number, state, {"logs": self.run.marks()})

    def _log(self, number: int, loss: float, used: float, seconds: float) -> dict[str, str]:
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"sft step {number}: loss = {loss}; lower sft.optimizer.learning_rate"
            )
        steps = (number - 1) % LOG_EVERY + 1
        rate = steps * self.config.batch * self.config.row_tokens / max(seconds, 1e-9)
        row = {"phase": "sft", "step": number, "loss": loss, "tokens_per_s": round(rate, 1)}
        self.run.append("metrics", row | {"used_fraction": round(used, 4)})
        return {"loss": f"{loss:.3f}", "tokens/s": f"{rate:.0f}"}
