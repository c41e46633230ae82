"""Operations that a model's mathematics asks for: what utilisation (MFU) is measured against.

A product of n inputs and m outputs takes 2nm operations a token; backwards twice as many, once
where its weights are frozen. Attention takes 4 · N · H a layer for every earlier token, its mean
distance half of a row. Nothing that is computed twice counts twice (arXiv 2204.02311, appendix B).
"""

import math

import jax
import numpy as np

from stepcoder_jax.plan.blueprint import Blueprint


def useful_flops(plan: Blueprint) -> dict[str, float]:
    """Of one call of each program, on all devices together."""
    config, model = plan.config, plan.model
    rows, prompt = plan.update_rows, config.rollout.prompt_buckets[-1]
    response = config.sampling.max_new_tokens
    head = 2.0 * model.hidden_size * model.vocab_size

    def layers(row: int, *, cached: float | None = None) -> float:
        """Forward, of one token of rows so long."""
        context = row / 2 if cached is None else cached
        attention = 4.0 * model.num_layers * model.num_heads * model.head_dim * context
        return 2.0 * layer_parameters(plan) + attention

    through = layers(plan.row_tokens) * plan.row_tokens
    backbones = 2 if plan.learner.critic_kind == "separate" else 1
    back = 2 if config.lora.rank else 3
    # Not those that are added so that they split evenly: they are nobody's.
    prompts = min(config.sampling.prefill_prompts, config.rollout.problems)
    decoded = min(config.sampling.slots, config.rows)
    return {
        "prefill": prompts * (layers(prompt) * prompt + head),
        "decode": decoded * (layers(0, cached=prompt + response / 2) + head),
        "score": config.rows * ((1 + backbones) * through + 2 * head * response),
        "update": back * rows * (backbones * through + head * response),
    }


def layer_parameters(plan: Blueprint) -> int:
    """Numbers in the matrices of all layers."""
    leaves = jax.tree.leaves_with_path(plan.weights["layers"])
    return sum(math.prod(x.shape) for path, x in leaves if path[-1].key == "kernel")


def all_parameters(plan: Blueprint) -> int:
    """Numbers of a policy."""
    return int(sum(np.prod(x.shape) for x in jax.tree.leaves(plan.weights)))
