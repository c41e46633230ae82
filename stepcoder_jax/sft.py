"""Supervised fine-tuning on canonical solutions: the phase before PPO, or a command of its own."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import WHOLE_MODELS, LoRAConfig, OptimizerConfig, SFTConfig
from stepcoder_jax.data.order import ProblemOrder
from stepcoder_jax.data.prompts import Example
from stepcoder_jax.logprobs import token_logprobs
from stepcoder_jax.masked import masked_mean
from stepcoder_jax.model.apply import hidden_states
from stepcoder_jax.model.decoder import Decoder, unembed
from stepcoder_jax.model.lora import policy_weights
from stepcoder_jax.optimizer import make_optimizer
from stepcoder_jax.progress import Display
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sharding import Mesh, shard_rows
from stepcoder_jax.stop import Interrupted, StopRequest
from stepcoder_jax.types import Params, TrainState

# Steps between two lines of the log: reading a loss waits for the device.
LOG_EVERY = 10


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class SFTBatch:
    """Right-padded examples; the loss is over ``is_answer``, the end token included."""

    tokens: Int[Array, "B T"]
    is_answer: Bool[Array, "B T"]


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
        hidden = hidden_states(step.policy, weights.params, batch.tokens, weights.adapters)
        head = partial(unembed, weights.params)
        scored = token_logprobs(hidden, head, batch.tokens, 1.0, step.logprob_chunk_tokens, False)
        return -masked_mean(scored.logprobs, batch.is_answer, jnp.sum(batch.is_answer))

    value, grads = jax.value_and_grad(loss)(state.policy)
    updates, opt = step.make_optimizer().update(grads, state.policy_opt, state.policy)
    policy = optax.apply_updates(state.policy, updates)
    return replace(state, step=state.step + 1, policy=policy, policy_opt=opt), value


def pack_examples(examples: Sequence[Example], width: int, pad_token: int) -> SFTBatch:
    """Examples as rows of ``width`` tokens."""
    tokens = np.full((len(examples), width), pad_token, np.int32)
    is_answer = np.zeros(tokens.shape, bool)
    for row, example in enumerate(examples):
        length = len(example.tokens)
        tokens[row, :length] = example.tokens
        is_answer[row, length - example.answer_tokens : length] = True
    return SFTBatch(tokens=jnp.asarray(tokens), is_answer=jnp.asarray(is_answer))


@dataclass(frozen=True, kw_only=True)
class SFTPhase:
    """The host loop of the phase: resumable, and the same however often it was interrupted.

    Attributes:
      frozen: as for ``sft_update``.
    """

    step: SFTStep
    frozen: Params | None
    config: SFTConfig
    examples: Sequence[Example]
    pad_token: int
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
          FloatingPointError: the loss is not finite.
        """
        order = ProblemOrder(len(self.examples), seed=self.seed)
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
                batch = pack_examples(
                    [self.examples[i] for i in chosen], self.config.row_tokens, self.pad_token
                )
                state, loss = sft_update(
                    state, shard_rows(batch, self.mesh), step=self.step, frozen=self.frozen
                )
                if (number + 1) % LOG_EVERY == 0 or number + 1 == self.config.steps:
                    value = self._log(number + 1, float(loss), time.monotonic() - mark)
                    meter(number + 1, value)
                    mark = time.monotonic()
                if (number + 1) % self.checkpoint_every == 0 or number + 1 == self.config.steps:
                    self._save(store, number + 1, state)
        store.wait()
        return state

    def _save(self, store: CheckpointStore, number: int, state: TrainState) -> None:
        store.save(number, state, {"logs": self.run.marks()})

    def _log(self, number: int, loss: float, seconds: float) -> dict[str, str]:
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"sft step {number}: loss = {loss}; lower sft.optimizer.learning_rate"
            )
        steps = (number - 1) % LOG_EVERY + 1
        rate = steps * self.config.batch * self.config.row_tokens / max(seconds, 1e-9)
        self.run.append(
            "metrics",
            {"phase": "sft", "step": number, "loss": loss, "tokens_per_s": round(rate, 1)},
        )
        return {"loss": f"{loss:.3f}", "tokens/s": f"{rate:.0f}"}
