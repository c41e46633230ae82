"""How fast the input pipeline is: token ids made ahead of time, then rows and prompts of a step.

    python tests/data/feed_rate.py PROBLEM_FILE

Tokenised with a vocabulary of 8,192 that is trained on the spot; a row has `sft.row_tokens`.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stepcoder_jax.config import DataConfig, PromptConfig, RunConfig, SFTConfig
from stepcoder_jax.data.example_rows import one_a_row, packed
from stepcoder_jax.data.order import ProblemOrder
from stepcoder_jax.data.prompts import PromptBuilder
from stepcoder_jax.data.requirement import requirement
from stepcoder_jax.data.sources import load_problems
from stepcoder_jax.data.training_set import make_training_set
from stepcoder_jax.model.tokenizer import train_tokenizer

STEPS, BATCH = 200, 64


def feed_rate(path: str) -> dict[str, float]:
    """Rates by the second, and the most memory that was held at any time."""
    problems, read_s = _timed(lambda: load_problems(path))
    texts = [f"{requirement(p, 0)}\n{p.canonical_solution}" for p in problems[:1000]]
    builder = PromptBuilder(tokenizer=train_tokenizer(texts, 8192), config=PromptConfig())
    config = RunConfig(data=DataConfig(max_prompt_tokens=1024), sft=SFTConfig(row_tokens=1024))
    width = config.sft.row_tokens
    solved = [p for p in problems if p.canonical_solution and not builder.is_too_long(p, width)]
    examples, examples_s = _timed(lambda: [builder.example(p) for p in solved])
    fitting = [e for e in examples if len(e.tokens) <= width]
    single, single_s = _timed(lambda: one_a_row(fitting, width, 0))
    full, full_s = _timed(lambda: packed(fitting, width, 0, seed=0))
    order = ProblemOrder(len(single), seed=0)
    steps_s = _timed(lambda: [single.take(order.take(k * BATCH, BATCH)) for k in range(STEPS)])[1]
    data, prompts_s = _timed(lambda: make_training_set(problems, builder, config))
    order = ProblemOrder(len(data.problems), seed=0)

    def prompts() -> list[int]:
        chosen = [i for k in range(STEPS) for i in order.take(k * BATCH, BATCH)]
        return [len(data.prompts[i][-1].tokens) for i in chosen]

    return {
        "problems": len(problems),
        "read_a_s": len(problems) / read_s,
        "examples_tokenised_a_s": len(examples) / examples_s,
        "rows_filled_a_s": len(single) / single_s,
        "rows_packed_a_s": len(full) / full_s,
        "problems_with_prompts_of_all_stages_a_s": len(problems) / prompts_s,
        "prompts": sum(map(len, data.prompts)),
        "sft_rows_fed_a_s": STEPS * BATCH / steps_s,
        "ppo_prompts_fed_a_s": STEPS * BATCH / _timed(prompts)[1],
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _timed[T](act: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = act()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    rates = feed_rate(str(Path(sys.argv[1])))
    print(json.dumps({name: round(value) for name, value in rates.items()}))
