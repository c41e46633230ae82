"""A model with made-up weights, made-up rows, and the pieces of training that are measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepcoder_jax.bench.settings import MEAN_LENGTH, BenchSettings
from stepcoder_jax.config import KLConfig, OptimizerConfig, PPOConfig
from stepcoder_jax.learner import Learner, init_state, make_train_batch, score, update
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.few_rows import choose_products
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.product import held_dtype
from stepcoder_jax.model.serving import serving_params
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.sampling.decode import DecodeSettings
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.types import Prompt, RolloutBatch, TrainBatch, TrainState

TEMPERATURE, TOP_P = 0.8, 0.9
_DECODE_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class Work:
    """The engine and the learner of some settings, and the rows that they are given."""

    settings: BenchSettings
    sampler: Sampler
    learner: Learner
    seed: int = 0

    def tokens(self) -> np.ndarray:
        """Made-up rows of prompt and response."""
        rng = np.random.default_rng(self.seed)
        vocab = self.settings.config.vocab_size
        return rng.integers(4 % vocab, vocab, self._shape).astype(np.int32)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.settings.n_rows, self.settings.prompt_tokens + self.settings.response_tokens

    def lengths(self) -> np.ndarray:
        """Tokens of each response."""
        n_rows, most = self.settings.n_rows, self.settings.response_tokens
        if self.settings.lengths == "full":
            return np.full(n_rows, most)
        rng = np.random.default_rng(self.seed + 2)
        return np.minimum(rng.geometric(1 / MEAN_LENGTH, n_rows), most)

    def sample(self, params: Any) -> int:
        """Every row to its length, by the engine that training uses; returns how many tokens."""
        width = self.settings.prompt_tokens
        prompts = [
            Prompt(tokens=tuple(row[:width].tolist()), prefix_tokens=0) for row in self.tokens()
        ]
        keys = jax.random.split(jax.random.key(self.seed), len(prompts))
        budgets = self.lengths().tolist()
        served = serving_params(params, dtype=self.sampler.decoder.dtype)
        done = self.sampler.generate(served, prompts, keys, samples=1, budgets=budgets)
        return sum(len(sample.tokens) for _, sample in done)

    def rollouts(self) -> RolloutBatch:
        """Made-up scored rollouts."""
        rng = np.random.default_rng(self.seed + 1)
        is_behind = np.arange(self._shape[1]) >= self.settings.prompt_tokens
        is_response = np.broadcast_to(is_behind, self._shape)
        return RolloutBatch(
            tokens=jnp.asarray(self.tokens()),
            is_response=jnp.asarray(is_response),
            is_executed=jnp.asarray(is_response & (rng.random(is_response.shape) < 0.8)),
            weights=jnp.ones(is_response.shape, jnp.float32),
            scores=jnp.asarray(rng.choice([1.0, -0.3, -0.6, -1.0], self._shape[0]), jnp.float32),
            sampler_logprobs=jnp.zeros(is_response.shape, jnp.float32),
        )

    def train_batch(self, state: TrainState) -> TrainBatch:
        """Scores by three models, advantages."""
        rollouts = self.rollouts()
        scores = score(
            state.policy,
            state.policy,
            state.critic,
            rollouts.tokens,
            rollouts.is_response,
            learner=self.learner,
            pieces=self.learner.ppo.microbatches,
        )
        return make_train_batch(rollouts, scores, beta=state.beta, learner=self.learner)[0]

    def one_run(self) -> Callable[[], Any]:
        """What is timed: each call does the work once, on weights that are there already."""
        policy = init_policy(jax.random.key(0), self.settings.config)
        if self.settings.what == "rollout":
            return lambda: self.sample(policy)
        critic = critic_from_policy(policy, self.settings.config)
        state = init_state(self.learner, policy, critic)
        if self.settings.what == "update":
            batch = self.train_batch(state)
            return _Steps(state, self.learner, lambda _: batch).step

        def sampled_and_scored(state: TrainState) -> TrainBatch:
            self.sample(state.policy)
            return self.train_batch(state)

        return _Steps(state, self.learner, sampled_and_scored).step


@dataclass
class _Steps:
    """Optimizer steps, one after the other."""

    state: TrainState
    learner: Learner
    batch: Callable[[TrainState], TrainBatch]

    def step(self) -> Any:
        """One more of them."""
        self.state, *stats = update(self.state, self.batch(self.state), learner=self.learner)
        return self.state.step, stats


def make_work(settings: BenchSettings) -> Work:
    """The engine and the learner of these settings.

    Raises:
      ConfigError: a backend of attention that cannot run here, at its first use.
    """
    kinds: dict[str, Any] = {
        "config": settings.config,
        "dtype": settings.dtype,
        "attention": settings.attention,
        "remat": settings.remat,
        "unroll": settings.unroll,
    }
    decoder = Decoder(**kinds)
    learner = Learner(
        policy=decoder,
        critic=Critic(**kinds),
        ppo=PPOConfig(microbatches=settings.microbatches),
        kl=KLConfig(),
        policy_optimizer=OptimizerConfig(learning_rate=1e-6, weight_decay=0.01),
        critic_optimizer=OptimizerConfig(learning_rate=1e-6, weight_decay=0.01),
        temperature=TEMPERATURE,
        logprob_chunk_tokens=settings.logprob_chunk_tokens,
        total_steps=1000,
        response_tokens=settings.response_tokens,
    )
    decoding = DecodeSettings(
        temperature=TEMPERATURE,
        top_p=TOP_P,
        end_token=-1,
        pad_token=0,
        max_new_tokens=settings.response_tokens,
    )
    sampler = Sampler(
        decoder=decoder,
        settings=decoding,
        token_bytes=TokenBytes(table=()),
        prompt_buckets=(settings.prompt_tokens,),
        slots=settings.rows_together,
        chunk_tokens=_DECODE_CHUNK,
        stop=(),
        place=lambda tree: tree,
        prefill_prompts=settings.prefill_prompts,
        products=choose_products(
            settings.products,
            rows=settings.rows_together,
            inputs=settings.config.hidden_size,
            dtype=held_dtype(settings.dtype),
        ).products,
    )
    return Work(settings=settings, sampler=sampler, learner=learner)
