"""What is measured."""

from dataclasses import dataclass
from typing import Literal

from stepcoder_jax.config import ConfigError
from stepcoder_jax.model.attention import BACKENDS
from stepcoder_jax.model.config import SHAPES, ModelConfig
from stepcoder_jax.model.few_rows import PRODUCTS

# Rows sampled together and rows of an update, by shape: small models take more rows at a time.
_ROLLOUT_ROWS = {"smollm2-135m": 16}
_DEFAULT_ROLLOUT_ROWS, _UPDATE_ROWS = 64, 16
# Responses of unequal length: geometric, this long on average, `response_tokens` at most.
MEAN_LENGTH, UNEVEN_ROUNDS = 40, 4


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """A piece of work on made-up weights.

    Attributes:
      what: ``rollout``: prefill and decode; ``update``: one optimizer step of policy and critic;
        ``iteration``: sample the rows of an update, score them, update.
      shape: a name in ``SHAPES``.
      dtype: of activations, of the weights for sampling and of the cache.
      rows: sampled together, or of an update; None: the shape's own number.
      prompt_tokens, response_tokens: of a row.
      lengths: of responses: ``full``: all tokens; ``geometric``: 40 on average, ``response_tokens``
        at most, four times as many rows as are decoded together. ``rollout`` only.
      prefill_prompts: as ``sampling.prefill_prompts``.
      microbatches: pieces of an update, and of scoring.
      remat: what the backward pass of an update computes again, as ``model.remat``.
      unroll: as ``model.unroll``.
      attention: as ``model.attention``.
      products: as ``sampling.products``.
      logprob_chunk_tokens: as ``model.logprob_chunk_tokens``.

    Raises:
      ConfigError: an unknown shape or backend, or micro-batches that do not divide the rows.
    """

    what: Literal["rollout", "update", "iteration"]
    shape: str = "small"
    dtype: str = "float32"
    rows: int | None = None
    prompt_tokens: int = 128
    response_tokens: int = 128
    lengths: Literal["full", "geometric"] = "full"
    prefill_prompts: int = 8
    microbatches: int = 4
    remat: str = "none"
    unroll: bool = True
    attention: str = "xla"
    products: str = "auto"
    logprob_chunk_tokens: int = 512

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ConfigError(f"--shape {self.shape}: one of {', '.join(SHAPES)}")
        if self.attention not in BACKENDS:
            raise ConfigError(f"--attention {self.attention}: one of {', '.join(BACKENDS)}")
        if self.products not in PRODUCTS:
            raise ConfigError(f"--products {self.products}: one of {', '.join(PRODUCTS)}")
        if self.lengths == "geometric" and self.what != "rollout":
            raise ConfigError(f"--lengths geometric is for rollout, not for {self.what}")
        if self.what != "rollout" and self.rows_together % self.microbatches:
            raise ConfigError(
                f"--microbatches {self.microbatches} must divide the {self.rows_together} rows"
            )

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return SHAPES[self.shape]

    @property
    def rows_together(self) -> int:
        """Rows in the slots, or of an update."""
        if self.rows is not None:
            return self.rows
        if self.what == "rollout":
            return _ROLLOUT_ROWS.get(self.shape, _DEFAULT_ROLLOUT_ROWS)
        return _UPDATE_ROWS

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return self.rows_together * (UNEVEN_ROUNDS if self.lengths == "geometric" else 1)
