"""``stepcoder bench``: sampling, the update, and a whole iteration on made-up weights and data."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepcoder_jax.config import ConfigError, KLConfig, OptimizerConfig, PPOConfig
from stepcoder_jax.learner import Learner, init_state, make_train_batch, score, update
from stepcoder_jax.model.config import SHAPES
from stepcoder_jax.model.critic import Critic
from stepcoder_jax.model.decoder import Decoder
from stepcoder_jax.model.init import critic_from_policy, init_policy
from stepcoder_jax.model.serving import serving_params
from stepcoder_jax.model.weights import policy_shapes
from stepcoder_jax.program import TokenBytes
from stepcoder_jax.sampling.decode import DecodeSettings
from stepcoder_jax.sampling.generate import Sampler
from stepcoder_jax.types import Prompt, RolloutBatch, TrainBatch, TrainState

PROMPT, RESPONSE, CHUNK = 128, 128, 16
# Responses of unequal length: geometric, this long on average, RESPONSE at most.
MEAN_LENGTH, UNEVEN_ROUNDS = 40, 4
TEMPERATURE, TOP_P = 0.8, 0.9
# Rows sampled together and rows of an update, by shape: small models take more rows at a time.
ROLLOUT_ROWS = {"smollm2-135m": 16}
DEFAULT_ROLLOUT_ROWS, UPDATE_ROWS = 64, 16


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A model with made-up weights and the pieces under measurement."""

    sampler: Sampler
    learner: Learner
    rows: int
    is_uneven: bool = False
    seed: int = 0

    def tokens(self) -> np.ndarray:
        """Made-up rows of prompt and response."""
        rng = np.random.default_rng(self.seed)
        vocab = self.sampler.decoder.config.vocab_size
        shape = (self.rows, PROMPT + RESPONSE)
        return rng.integers(4 % vocab, vocab, shape).astype(np.int32)

    def sample(self, params: Any) -> int:
        """Every row to its length, by the engine that training uses; returns how many tokens."""
        prompts = [
            Prompt(tokens=tuple(row[:PROMPT].tolist()), prefix_tokens=0) for row in self.tokens()
        ]
        keys = jax.random.split(jax.random.key(self.seed), self.rows)
        budgets = self.lengths().tolist()
        served = serving_params(params, dtype=self.sampler.decoder.dtype)
        done = self.sampler.generate(served, prompts, keys, samples=1, budgets=budgets)
        return sum(len(sample.tokens) for _, sample in done)

    def lengths(self) -> np.ndarray:
        """Tokens of each response."""
        if not self.is_uneven:
            return np.full(self.rows, RESPONSE)
        rng = np.random.default_rng(self.seed + 2)
        return np.minimum(rng.geometric(1 / MEAN_LENGTH, self.rows), RESPONSE)

    def rollouts(self) -> RolloutBatch:
        """Made-up scored rollouts."""
        rng = np.random.default_rng(self.seed + 1)
        is_response = np.broadcast_to(np.arange(PROMPT + RESPONSE) >= PROMPT, self.tokens().shape)
        return RolloutBatch(
            tokens=jnp.asarray(self.tokens()),
            is_response=jnp.asarray(is_response),
            is_executed=jnp.asarray(is_response & (rng.random(is_response.shape) < 0.8)),
            weights=jnp.ones(is_response.shape, jnp.float32),
            scores=jnp.asarray(rng.choice([1.0, -0.3, -0.6, -1.0], self.rows), jnp.float32),
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


def run_bench(
    what: str,
    *,
    shape: str,
    runs: int,
    dtype: str,
    microbatches: int,
    remat: str = "layer",
    lengths: str = "full",
    rows: int | None = None,
) -> dict[str, Any]:
    """Measures one piece of work.

    Args:
      what: ``rollout``: prefill and decode 128 + 128 tokens; ``update``: one optimizer step of
        policy and critic on 16 rows of 256; ``iteration``: sample 16 rows, score, update.
      runs: timed runs, after one that compiles.
      remat: what the backward pass of an update computes again, as ``model.remat``.
      lengths: of responses: ``full``: all 128 tokens; ``geometric``: 40 on average, 128 at most,
        four times as many rows as are decoded together. ``rollout`` only.
      rows: rows sampled together, or of an update; None: the shape's own number.

    Returns:
      Median, least and greatest tokens a second (of the response for ``rollout``, of whole rows
      otherwise), the runs' seconds, the compile time, and the peak resident memory. For an update
      also its share of what the device's matrix products allow: 6 × parameters × tokens operations
      (policy and critic; of the output layer the tokens of responses alone) against the rate of a
      product of two large matrices, measured beside it.

    Raises:
      ConfigError: an unknown shape.
    """
    if shape not in SHAPES:
        raise ConfigError(f"--shape {shape}: one of {', '.join(SHAPES)}")
    bench = _make(what, shape, dtype, microbatches, remat, lengths == "geometric", rows)
    work = _work(bench, what)
    limit = matmul_rate(dtype) if what == "update" else None
    seconds = _time(work, runs)
    tokens = int(bench.lengths().sum()) + (0 if what == "rollout" else PROMPT * bench.rows)
    rates = sorted(tokens / s for s in seconds[1:])
    if limit is not None:
        # Before and after: on a shared machine the larger is nearer to what it can do.
        limit = max(limit, matmul_rate(dtype))
    return {
        "what": what,
        "shape": shape,
        "dtype": dtype,
        "device": jax.devices()[0].device_kind,
        "rows": bench.rows,
        "lengths": lengths,
        "tokens_per_s": round(float(np.median(rates)), 2),
        "tokens_per_s_min": round(rates[0], 2),
        "tokens_per_s_max": round(rates[-1], 2),
        "seconds": [round(s, 4) for s in seconds[1:]],
        "first_call_s": round(seconds[0], 2),
        "peak_rss_bytes": _peak_rss_bytes(),
        **({} if limit is None else _share(bench, float(np.median(seconds[1:])), limit)),
    }


def matmul_rate(dtype: str, size: int = 2048, repeats: int = 5) -> float:
    """Floating-point operations a second of the best of some products of two square matrices."""
    x = jnp.ones((size, size), dtype)
    seconds = _time(jax.jit(lambda: x @ x), repeats)
    return 2 * size**3 / min(seconds[1:])


def _share(bench: Bench, seconds: float, limit: float) -> dict[str, float]:
    config = bench.sampler.decoder.config
    table = config.vocab_size * config.hidden_size
    tables = table if config.tie_word_embeddings else 2 * table
    layers = sum(x.size for x in jax.tree.leaves(policy_shapes(config))) - tables
    done = 6 * bench.rows * (2 * layers * (PROMPT + RESPONSE) + table * RESPONSE) / seconds
    return {
        "matmul_flops_per_s": round(limit),
        "model_flops_per_s": round(done),
        "matmul_share": round(done / limit, 3),
    }


def _make(
    what: str,
    shape: str,
    dtype: str,
    microbatches: int,
    remat: str,
    is_uneven: bool,
    rows: int | None,
) -> Bench:
    config = SHAPES[shape]
    decoder = Decoder(config=config, dtype=dtype, remat=remat)
    if rows is None:
        rows = ROLLOUT_ROWS.get(shape, DEFAULT_ROLLOUT_ROWS) if what == "rollout" else UPDATE_ROWS
    learner = Learner(
        policy=decoder,
        critic=Critic(config=config, dtype=dtype, remat=remat),
        ppo=PPOConfig(microbatches=microbatches),
        kl=KLConfig(),
        policy_optimizer=OptimizerConfig(learning_rate=1e-6, weight_decay=0.01),
        critic_optimizer=OptimizerConfig(learning_rate=1e-6, weight_decay=0.01),
        temperature=TEMPERATURE,
        logprob_chunk_tokens=512,
        total_steps=1000,
        response_tokens=RESPONSE,
    )
    settings = DecodeSettings(
        temperature=TEMPERATURE, top_p=TOP_P, end_token=-1, pad_token=0, max_new_tokens=RESPONSE
    )
    sampler = Sampler(
        decoder=decoder,
        settings=settings,
        token_bytes=TokenBytes(table=()),
        prompt_buckets=(PROMPT,),
        slots=rows,
        chunk_tokens=CHUNK,
        stop=(),
        place=lambda tree: tree,
    )
    n_rows = rows * UNEVEN_ROUNDS if is_uneven else rows
    return Bench(sampler=sampler, learner=learner, rows=n_rows, is_uneven=is_uneven)


def _work(bench: Bench, what: str) -> Callable[[], Any]:
    policy = init_policy(jax.random.key(0), bench.sampler.decoder.config)
    if what == "rollout":
        return lambda: bench.sample(policy)
    critic = critic_from_policy(policy, bench.sampler.decoder.config)
    state = init_state(bench.learner, policy, critic)
    batch = None if what == "iteration" else bench.train_batch(state)

    def step() -> Any:
        nonlocal state
        if what == "iteration":
            bench.sample(state.policy)
        state, *stats = update(
            state, bench.train_batch(state) if batch is None else batch, learner=bench.learner
        )
        return state.step, stats

    return step


def _time(work: Callable[[], Any], runs: int) -> list[float]:
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        jax.block_until_ready(work())
        seconds.append(time.perf_counter() - started)
    return seconds


def _peak_rss_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
