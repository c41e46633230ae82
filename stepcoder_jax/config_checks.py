"""What a recipe must satisfy beyond the types of its fields."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepcoder_jax.config import DistributedConfig, LoRAConfig, PromptConfig, RunConfig


class ConfigError(ValueError):
    """The configuration cannot be used; the message names the field, its value and the remedy."""


def check(config: RunConfig) -> None:
    """Raises ConfigError at the first value that cannot be used, or not beside the others."""
    _check_numbers(config, "")
    _check_model(config)
    _check_iteration(config)
    _check_sampling(config)
    _check_method(config)
    _check_learner(config)
    _check_prompt(config.prompt)
    _check_lora(config.lora)
    _check_distributed(config.distributed)


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"{name} = {value!r}: {allowed}")


def _check_numbers(record: object, prefix: str) -> None:
    """NaN passes no comparison, nor fails one: a limit that is NaN is none."""
    for field in fields(record):  # type: ignore[arg-type]
        name, value = prefix + field.name, getattr(record, field.name)
        if is_dataclass(value):
            _check_numbers(value, f"{name}.")
        is_nan = isinstance(value, float) and math.isnan(value)
        _require(not is_nan, name, value, "must be a number")


def _check_model(c: RunConfig) -> None:
    """The fused kernel computes in the activations' type, and whole rows."""
    fits = c.model.attention != "cudnn" or c.model.dtype == "bfloat16"
    half = "takes 16 bits only: set model.dtype = bfloat16, or model.attention = xla"
    _require(fits, "model.attention", c.model.attention, half)
    apart = not c.sft.packing or c.model.attention != "cudnn"
    mixes = "model.attention = cudnn does not keep packed examples apart: set false, or xla there"
    _require(apart, "sft.packing", c.sft.packing, mixes)


def _check_iteration(c: RunConfig) -> None:
    """Batches divide, buckets ascend."""
    for name, value in (
        ("rollout.problems", c.rollout.problems),
        ("rollout.samples", c.rollout.samples),
        ("ppo.epochs", c.ppo.epochs),
        ("ppo.minibatches", c.ppo.minibatches),
        ("ppo.microbatches", c.ppo.microbatches),
        ("critic.steps", c.critic.steps),
        ("sft.batch", c.sft.batch),
        ("checkpoint.every", c.checkpoint.every),
        ("checkpoint.sft_every", c.checkpoint.sft_every),
        ("checkpoint.keep", c.checkpoint.keep),
        ("model.logprob_chunk_tokens", c.model.logprob_chunk_tokens),
    ):
        _require(value > 0, name, value, "must be positive")
    for name, value in (("iterations", c.iterations), ("sft.steps", c.sft.steps)):
        _require(value >= 0, name, value, "must not be negative")
    _require(
        0 <= c.seed < 2**32, "seed", c.seed, f"in 0 … {2**32 - 1}: of larger ones JAX drops bits"
    )
    for name in ("train_count", "demonstrations_count", "ppo_count", "evaluate_count"):
        most = getattr(c.data, name)
        _require(most is None or most > 0, f"data.{name}", most, "positive, or null for all")
    steps = c.ppo.minibatches * c.ppo.microbatches
    allowed = f"must divide the {c.rows} rollouts of an iteration (rollout.problems × samples)"
    _require(c.rows % steps == 0, "ppo.minibatches × ppo.microbatches", steps, allowed)
    divides = f"must divide ppo.microbatches = {c.ppo.microbatches}"
    fits = c.ppo.advantage != "gae" or c.ppo.microbatches % c.critic.steps == 0
    _require(fits, "critic.steps", c.critic.steps, divides)
    for name, buckets in (
        ("rollout.prompt_buckets", c.rollout.prompt_buckets),
        ("rollout.row_buckets", c.rollout.row_buckets),
    ):
        ascends = list(buckets) == sorted(set(buckets)) and min(buckets, default=1) > 0
        _require(ascends, name, buckets, "must be positive and ascending")
    _require(len(c.rollout.prompt_buckets) > 0, "rollout.prompt_buckets", (), "needs an entry")
    longest, most = c.rollout.prompt_buckets[-1], c.data.max_prompt_tokens
    allowed = f"in 1 … {longest}, the longest of rollout.prompt_buckets, or null"
    _require(most is None or 1 <= most <= longest, "data.max_prompt_tokens", most, allowed)


def _check_sampling(c: RunConfig) -> None:
    """Temperatures, nuclei and budgets of training and evaluation."""
    random = "training samples must be random: above 0 (eval.temperature may be 0)"
    temperature = c.sampling.temperature
    _require(temperature > 0, "sampling.temperature", temperature, random)
    greedy = "0 is greedy, above it random; never negative"
    _require(c.eval.temperature >= 0, "eval.temperature", c.eval.temperature, greedy)
    for name, top_p in (("sampling", c.sampling.top_p), ("eval", c.eval.top_p)):
        _require(0 < top_p <= 1, f"{name}.top_p", top_p, "in (0, 1]")
    for name, value in (
        ("sampling.temperature", temperature),
        ("eval.temperature", c.eval.temperature),
    ):
        _require(math.isfinite(value), name, value, "must be finite")
    gap = c.sampling.max_logprob_gap
    _require(gap >= 0, "sampling.max_logprob_gap", gap, "must not be negative")
    for name, top_k in (("sampling", c.sampling.top_k), ("eval", c.eval.top_k)):
        _require(top_k >= 0, f"{name}.top_k", top_k, "must not be negative")
    for name in ("max_new_tokens", "slots", "prefill_prompts", "chunk_tokens"):
        value = getattr(c.sampling, name)
        _require(value > 0, f"sampling.{name}", value, "must be positive")
    few = f"each in 1 … eval.samples = {c.eval.samples}"
    fits = all(1 <= k <= c.eval.samples for k in c.eval.k)
    _require(fits and len(c.eval.k) > 0, "eval.k", c.eval.k, few)
    for name in ("wall_s", "cpu_s", "cpu_factor"):
        value = getattr(c.executor, name)
        _require(value > 0, f"executor.{name}", value, "must be positive")


def _check_method(c: RunConfig) -> None:
    """Curriculum, rewards and KL."""
    _require(0 < c.curriculum.alpha <= 1, "curriculum.alpha", c.curriculum.alpha, "in (0, 1]")
    known = set(type(c.curriculum)().statements)
    statements = c.curriculum.statements
    allowed = f"each one of {sorted(known)}"
    _require(set(statements) <= known, "curriculum.statements", statements, allowed)
    fraction, mix = c.curriculum.fraction, c.curriculum.mix
    _require(0 <= fraction < 1, "curriculum.fraction", fraction, "in [0, 1)")
    _require(0 <= mix <= 1, "curriculum.mix", mix, "in [0, 1]")
    moves = c.curriculum.start == "stages" or mix == 0
    _require(moves, "curriculum.mix", mix, "with curriculum.start = fixed_fraction: 0")
    for name in ("passed", "failed", "runtime_error", "compile_error"):
        value = getattr(c.reward, name)
        _require(math.isfinite(value), f"reward.{name}", value, "must be finite")
    clip = c.reward.clip
    _require(clip is None or clip > 0, "reward.clip", clip, "must be positive, or null for none")
    penalty = c.reward.error_penalty
    _require(penalty >= 0, "reward.error_penalty", penalty, "must not be negative")
    zero = "with kl.where = loss, the mean gradient of k1 is zero: use k2 or k3"
    _require((c.kl.where, c.kl.estimator) != ("loss", "k1"), "kl.estimator", c.kl.estimator, zero)


def _check_learner(c: RunConfig) -> None:
    """Who estimates advantages, what charges the KL, what happens to stale and broken steps."""
    advantage = c.ppo.advantage
    if advantage != "gae":
        group = f"ppo.advantage = {advantage} compares the samples of a problem: at least 2"
        _require(c.rollout.samples > 1, "rollout.samples", c.rollout.samples, group)
        none = f"there is no critic with ppo.advantage = {advantage}"
        warmup, backbone = c.critic.warmup_iterations, c.critic.backbone
        _require(warmup == 0, "critic.warmup_iterations", warmup, none)
        _require(backbone == "separate", "critic.backbone", backbone, none)
    together = "critic.backbone = shared steps with the policy: 1"
    alone = c.critic.backbone == "separate" or c.critic.steps == 1
    _require(alone, "critic.steps", c.critic.steps, together)
    for name, value in (("kl.target", c.kl.target), ("kl.horizon", c.kl.horizon)):
        _require(value > 0, name, value, "must be positive")
    _require(c.kl.beta >= 0, "kl.beta", c.kl.beta, "must not be negative")
    cap, skipped = c.ppo.importance_cap, c.ppo.max_skipped
    _require(cap >= 1, "ppo.importance_cap", cap, "at least 1")
    _require(skipped >= 0, "ppo.max_skipped", skipped, "must not be negative")
    _require(c.rollout.staleness in (0, 1), "rollout.staleness", c.rollout.staleness, "0 or 1")
    for name in ("policy_optimizer", "critic_optimizer"):
        optimizer = getattr(c, name)
        fits = optimizer.name == "adamw" or optimizer.second_moments == "full"
        has_none = f"{optimizer.name} has no second moments: full"
        _require(fits, f"{name}.second_moments", optimizer.second_moments, has_none)


def _check_prompt(prompt: PromptConfig) -> None:
    """What belongs to one format stays with it, and a stop string spares the block's opening."""
    only = "only the mbpp format shows solved tasks: set prompt.format = mbpp"
    _require(prompt.format == "mbpp" or not prompt.shots, "prompt.shots", prompt.shots, only)
    empty = "an empty string would end every response at once: leave it out"
    _require("" not in prompt.stop, "prompt.stop", prompt.stop, empty)
    fenced = prompt.extract == "fenced"
    whole = "a completion is code from its first token: set prompt.extract = whole"
    fits = not (fenced and prompt.format == "completion")
    _require(fits, "prompt.extract", prompt.extract, whole)
    opening = "would end a response where its code block begins: leave such strings out of it"
    spares = prompt.opens_fence or not fenced or not any("```" in stop for stop in prompt.stop)
    _require(spares, "prompt.stop", prompt.stop, opening)


def _check_lora(lora: LoRAConfig) -> None:
    """A rank, a scale and targets that exist."""
    _require(lora.rank >= 0, "lora.rank", lora.rank, "0 trains whole models, above it adapters")
    _require(lora.alpha > 0, "lora.alpha", lora.alpha, "must be positive")
    known = type(lora)().targets
    unknown = [name for name in lora.targets if name not in known]
    named = ", ".join(known)
    _require(not unknown, "lora.targets", ", ".join(unknown), f"no such matrix; there are {named}")
    once = 0 < len(set(lora.targets)) == len(lora.targets)
    _require(once, "lora.targets", lora.targets, "at least one matrix, each once")


def _check_distributed(d: DistributedConfig) -> None:
    """All that names the processes, or nothing of it."""
    for name in ("timeout_s", "heartbeat_s"):
        _require(getattr(d, name) > 0, f"distributed.{name}", getattr(d, name), "must be positive")
    if d.coordinator is None:
        both = "only together with distributed.coordinator"
        _require(d.processes is None, "distributed.processes", d.processes, both)
        _require(d.process is None, "distributed.process", d.process, both)
        return
    _require(not d.auto, "distributed.auto", d.auto, "false, as distributed.coordinator is given")
    host, _, port = d.coordinator.rpartition(":")
    is_address = bool(host) and port.isdecimal() and 0 < int(port) < 65536
    _require(is_address, "distributed.coordinator", d.coordinator, "HOST:PORT of process 0")
    count = 0 if d.processes is None else d.processes
    _require(count > 0, "distributed.processes", d.processes, "how many processes there are")
    fits = d.process is not None and 0 <= d.process < count
    _require(fits, "distributed.process", d.process, f"which one this is, in 0 … {count - 1}")
