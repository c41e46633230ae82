"""A run's configuration: frozen dataclasses and nothing else (``recipe`` reads them from files).

Every hyper-parameter has its default here and nowhere below. Unknown keys are errors. A function
receives its own sub-record, never the whole config.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stepcoder_jax.config_checks import ConfigError as ConfigError
from stepcoder_jax.config_checks import check
from stepcoder_jax.problem import DIFFICULTIES, Difficulty


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which weights to start from, and how to compute with them.

    Attributes:
      path: folder in Hugging Face form, or a GGUF file. None: fresh weights of ``shape``.
      shape: a named shape (``stepcoder_jax.model.config.SHAPES``) for fresh weights.
      vocab_size: size of the tokenizer trained for fresh weights.
      split_digits: whether that tokenizer keeps every digit apart.
      dtype: of activations. Parameters, moments, log-probs and losses are float32 always.
      attention: ``xla`` runs anywhere; ``cudnn`` needs an NVIDIA GPU and ``dtype`` bfloat16;
        ``splash`` needs a TPU.
      remat: what the backward pass recomputes: nothing, whole layers, or all but the matmuls.
      unroll: compile every layer for itself in an update, not one in a loop over all: what is kept
        for the backward pass need not be copied together. Longer to compile.
      logprob_chunk_tokens: positions whose logits exist at one time.
    """

    path: Path | None = None
    shape: str = "quickstart"
    vocab_size: int = 1024
    split_digits: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["xla", "cudnn", "splash"] = "xla"
    remat: Literal["none", "layer", "dots"] = "none"
    unroll: bool = False
    logprob_chunk_tokens: int = 512


# Matrices of a layer that adapters can be added to, by their Hugging Face names.
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class LoRAConfig:
    """Low-rank adapters that are trained in place of whole models (arXiv 2106.09685).

    Attributes:
      rank: r of x W + (alpha / r) (x A) B; 0 trains whole models.
      alpha: see there.
      targets: which matrices W of every layer have adapters.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = LORA_TARGETS

    @property
    def scale(self) -> float:
        """What an adapter's product counts: alpha / r."""
        return self.alpha / self.rank


WHOLE_MODELS = LoRAConfig(rank=0)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where problems come from: a JSON-lines file (DESIGN.md §7) or a known name.

    Attributes:
      train: problems that PPO draws from, and SFT too unless ``demonstrations`` is given.
      train_count: how many of them to take; None: all (generated sets need a number).
      demonstrations: problems whose solutions SFT imitates, as they are; None: those of ``train``.
      demonstrations_count: how many of them; None: all.
      ppo_count: how many of them PPO draws from, so that each comes back often enough for its
        curriculum to move; None: all that fit.
      evaluate: label -> problems, evaluated before and after.
      evaluate_count: how many of each; None: all.
      difficulties: only problems of these levels, in training and in evaluation.
      weighting: how often PPO draws a problem: ``uniform``, or ``conditionals``: in proportion to
        one plus its conditional statements, as the paper samples complex problems more often.
      max_prompt_tokens: problems with a longer prompt are left out and counted, in training, and
        count as not solved in evaluation; None: the longest of ``rollout.prompt_buckets``.
      manual_dir: folder with data sets that the user downloaded (docs/data.md).
      data_dir: where they are kept as ArrayRecord once read; None: the user's cache.
      verify: drop problems of ``train`` whose canonical solution fails its own tests.
    """

    train: str = "builtin:train"
    train_count: int | None = None
    demonstrations: str | None = None
    demonstrations_count: int | None = None
    ppo_count: int | None = None
    evaluate: dict[str, str] = field(default_factory=dict)
    evaluate_count: int | None = None
    difficulties: tuple[Difficulty, ...] = DIFFICULTIES
    weighting: Literal["uniform", "conditionals"] = "uniform"
    max_prompt_tokens: int | None = None
    manual_dir: Path | None = None
    data_dir: Path | None = None
    verify: bool = True


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """How a problem becomes text, and where the answer begins and ends.

    Attributes:
      format: ``plain`` is a short fixed layout; ``chat`` is the tokenizer's own template;
        ``completion`` is the starter code alone, with which the program then begins (HumanEval);
        ``mbpp`` is the sentence of MBPP's paper.
      answer_start: text put at the beginning of the answer in every prompt.
      answer_end: what follows a solution in supervised examples, before the end token.
      stop: strings that end a response; the program is the text before the first of them.
      extract: ``whole``: the response is the program; ``fenced``: the program is the first Python
        code block of the response, or all of it where it has no code block.
      shown_tests: how many assertions a prompt quotes (MBPP's prompts name the function so).
      shots: with ``mbpp``, ids of tasks of MBPP's prompt split that are shown solved before.
    """

    format: Literal["plain", "chat", "completion", "mbpp"] = "plain"
    answer_start: str = ""
    answer_end: str = ""
    stop: tuple[str, ...] = ()
    extract: Literal["whole", "fenced"] = "whole"
    shown_tests: int = 3
    shots: tuple[str, ...] = ()

    @property
    def opens_fence(self) -> bool:
        """Whether every answer begins inside a code block."""
        return "```" in self.answer_start


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """CCCS (METHOD.md §3).

    Attributes:
      enabled: False puts every problem at stage 0 from the start.
      statements: AST statements that count as conditional; ``paper_strict`` is (if, elif).
      alpha: step of the moving average of the pass rate, in (0, 1].
      threshold: pass rate above which the stage moves one towards the beginning.
      start: ``stages`` is the method; ``fixed_fraction``, a control, always gives away the same
        share of the lines of the canonical solution, and nothing moves.
      fraction: that share, in [0, 1).
      mix: share of an iteration's problems that begin at stage 0 whatever their stage is, and do
        not move it; in [0, 1].
    """

    enabled: bool = True
    start: Literal["stages", "fixed_fraction"] = "stages"
    fraction: float = 0.5
    mix: float = 0.0
    statements: tuple[str, ...] = ("if", "elif", "for", "while", "match")
    alpha: float = 0.2
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True)
class FGOConfig:
    """FGO (METHOD.md §5): which response tokens the policy loss counts.

    Attributes:
      mask: ``executed`` is the method; ``all`` is plain PPO; ``random_same_sparsity`` drops as many
        tokens as ``executed`` does, at random.
      granularity: ``line`` counts whole lines, as the paper does.
    """

    mask: Literal["executed", "all", "random_same_sparsity"] = "executed"
    granularity: Literal["expression", "line"] = "expression"


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """What a program is worth.

    Attributes:
      function: import path, ``module:function``, of what judges an executor's result.
      passed, failed, runtime_error, compile_error: score of each verdict (METHOD.md §4), for the
        functions that use them.
      error_penalty: how much lower than its score a program is scored where its error is, by the
        functions that know (RLTF's -0.3); at least 0.
      clip: bound of the absolute value of every score; None: none.
    """

    function: str = "stepcoder_jax.rewards:verdict_score"
    passed: float = 1.0
    failed: float = -0.3
    runtime_error: float = -0.6
    compile_error: float = -1.0
    error_penalty: float = 0.3
    clip: float | None = None


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Divergence from the reference: coefficient, estimator, and where it is charged.

    Attributes:
      beta: the coefficient; with ``controller`` adaptive the first one.
      controller: ``adaptive`` moves the coefficient after every iteration so that the divergence
        comes to ``target`` (Ziegler et al., arXiv 1909.08593, section 2.2).
      target: nats a response.
      horizon: responses in which the coefficient could change by about a factor e ** 0.2.
    """

    beta: float = 0.05
    estimator: Literal["k1", "k2", "k3"] = "k1"
    where: Literal["reward", "loss"] = "reward"
    controller: Literal["fixed", "adaptive"] = "fixed"
    target: float = 6.0
    horizon: int = 10_000


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """PPO (METHOD.md §6).

    Attributes:
      advantage: ``gae`` needs a critic; without one, ``grpo`` compares a response's score with the
        mean of its group in units of the group's spread, ``rloo`` with the mean of the others.
      clip_ratio: epsilon of the clipped surrogate.
      value_clip: how far a value may move from its old one before its gain is clipped.
      gamma, lam: discount and GAE's lambda.
      whiten: variance used to whiten advantages over the global batch.
      log_ratio_limit: the log-ratio is clamped to plus or minus this.
      loss_denominator: what the policy loss is divided by, counted over the global batch.
      entropy_coef, value_coef: weights of the entropy bonus and of the value loss.
      epochs: passes over an iteration's rollouts.
      minibatches: optimizer steps a pass.
      microbatches: pieces of a mini-batch whose gradients are added up to save memory.
      importance_cap: with ``rollout.staleness`` 1, the largest weight of a token that the policy
        has come to prefer since it was sampled.
      on_nonfinite: a loss or gradient that is not finite stops the run, or the optimizer step is
        skipped and counted; either way batch, step and recipe are written out.
      max_skipped: skipped steps after which the run stops all the same.
    """

    advantage: Literal["gae", "grpo", "rloo"] = "gae"

    clip_ratio: float = 0.2
    value_clip: float = 0.2
    gamma: float = 1.0
    lam: float = 0.95
    whiten: Literal["unbiased", "population", "none"] = "unbiased"
    log_ratio_limit: float = 20.0
    loss_denominator: Literal["trained_tokens", "response_tokens"] = "trained_tokens"
    entropy_coef: float = 0.0
    value_coef: float = 1.0
    epochs: int = 1
    minibatches: int = 1
    microbatches: int = 1
    importance_cap: float = 2.0
    on_nonfinite: Literal["stop", "skip"] = "stop"
    max_skipped: int = 3


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW or momentum, with warm-up and linear decay.

    Attributes:
      name: ``momentum`` steps along the running mean of the gradients (``b1``, bias-corrected)
        itself. ``adamw`` divides it by its size in every parameter, noise included: with few steps
        of small batches that moves the policy further from where it began for the same gain.
      learning_rate: peak; momentum wants one about a thousand times larger than adamw.
      warmup_steps: optimizer steps from 0 to the peak.
      decay: ``linear`` falls to 0 at the last step of the phase.
      max_grad_norm: global-norm clip.
      second_moments: of adamw; ``factored`` keeps a row and a column for each matrix (Shazeer and
        Stern, arXiv 1804.04235).
      first_moment_dtype: of adamw and momentum.
    """

    name: Literal["adamw", "momentum"] = "adamw"
    learning_rate: float = 5e-7
    warmup_steps: int = 0
    decay: Literal["none", "linear"] = "none"
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    second_moments: Literal["full", "factored"] = "full"
    first_moment_dtype: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the policy is sampled.

    Attributes:
      temperature: 0 is greedy.
      top_p: nucleus; 1 keeps the whole vocabulary.
      top_k: the most probable tokens that a draw is restricted to before the nucleus; 0: all.
      max_new_tokens: R, the longest response, its end token included.
      slots: rows decoded together; one that ends makes room for the next.
      prefill_prompts: prompts read together.
      chunk_tokens: decode steps between two looks of the host at what has finished, at most.
      products: what multiplies the rows in the slots with the weights on a CPU: ``xla``; ``cpp``,
        a kernel that is compiled where it runs; ``auto``: whichever is the faster there.
      max_logprob_gap: largest allowed mean difference between the sampler's log-probs and the
        trainer's; above it the run stops.
    """

    temperature: float = 0.8
    top_p: float = 0.9
    top_k: int = 0
    max_new_tokens: int = 1024
    slots: int = 64
    prefill_prompts: int = 8
    chunk_tokens: int = 16
    products: Literal["auto", "xla", "cpp"] = "auto"
    max_logprob_gap: float = 0.05


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """One iteration's experience.

    Attributes:
      problems: problems an iteration.
      samples: responses a problem, G.
      prompt_buckets: allowed prompt lengths (tokens, prefix included), ascending; a problem whose
        prompt or solution does not fit the longest is left out and counted.
      row_buckets: allowed lengths T of prompt and response together in the update; empty: the
        longest prompt bucket plus ``max_new_tokens``.
      staleness: 1 samples and executes the next batch while this one is trained on, with the policy
        as it was before; 0 waits for the new policy.
    """

    problems: int = 32
    samples: int = 16
    prompt_buckets: tuple[int, ...] = (256, 512, 1024)
    row_buckets: tuple[int, ...] = ()
    staleness: int = 0


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """The out-of-process executor.

    Attributes:
      backend: ``local``: a broker on this machine; ``ray``: one on every node of a Ray cluster
        that is there already.
      ray_address: ``host:port`` of its head; ``auto``: what RAY_ADDRESS says, else the cluster
        that this machine belongs to.
      slots: programs run at one time; 0: one a usable CPU. On ``ray``: on each node, and 0: one a
        free CPU.
      isolation: ``required`` refuses to run where the sandbox cannot be built in full.
      compare: how outputs are judged; ``apps`` reproduces hendrycks/apps.
      run_all: run every test of a program, also after one that did not pass, as reward functions
        that count tests need; verdicts stay the same, while more of the program may be executed.
      wall_s: wall-clock limit of a test.
      cpu_s, cpu_factor: limit of CPU time of a test where the time that the canonical solution
        takes is known (``data.verify``): ``cpu_factor`` times that, and at least ``cpu_s``.
      memory_mb, output_kb: limits of a test.
    """

    backend: Literal["local", "ray"] = "local"
    ray_address: str = "auto"
    slots: int = 0
    isolation: Literal["required", "best", "none"] = "best"
    compare: Literal["strict", "apps"] = "strict"
    run_all: bool = False
    wall_s: float = 3.0
    cpu_s: float = 0.5
    cpu_factor: float = 10.0
    memory_mb: int = 512
    output_kb: int = 64


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """The value model, started from the policy, with a zero head.

    Attributes:
      backbone: ``separate`` has one of its own; ``shared`` puts the head on the policy's.
      warmup_iterations: first iterations during which only the critic learns.
      steps: optimizer steps it takes for one of the policy's, each on its share of the rows.
    """

    backbone: Literal["separate", "shared"] = "separate"
    warmup_iterations: int = 0
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Supervised fine-tuning on canonical solutions.

    Attributes:
      steps: optimizer steps; 0 skips the phase.
      batch: rows a step; an example each unless they are packed.
      row_tokens: T of a supervised row; longer examples are left out and counted.
      packing: put as many examples in a row as fit, none of which sees another: fewer steps for a
        pass, each over more examples. Not with ``model.attention: cudnn``.
    """

    steps: int = 0
    batch: int = 64
    row_tokens: int = 256
    packing: bool = False
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-5, decay="linear")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Evaluation: n samples a problem, unbiased pass@k."""

    samples: int = 1
    k: tuple[int, ...] = (1,)
    temperature: float = 0.2
    top_p: float = 0.95
    top_k: int = 0


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes what is left."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """The processes of a run, which begin the same recipe each (docs/hosts.md); one by default.

    Attributes:
      auto: how many there are, and where, is what Slurm, GKE, a TPU's metadata or Open MPI say.
      coordinator: ``HOST:PORT`` of process 0, where nothing says it.
      processes: how many there are; with ``coordinator``.
      process: which of them this one is, from 0; with ``coordinator``.
      timeout_s: how long the processes wait for each other at the start.
      heartbeat_s: a process that has not been heard of for so long is taken for lost.
    """

    auto: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    timeout_s: int = 300
    heartbeat_s: int = 60


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often to save (iterations of PPO, steps of SFT) and how many checkpoints to keep."""

    every: int = 10
    sft_every: int = 200
    keep: int = 2


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A recipe.

    Attributes:
      run_dir: everything the run writes; a run directory with a checkpoint is resumed.
      iterations: PPO iterations; 0 stops after SFT.
    """

    run_dir: Path = Path("runs/default")
    seed: int = 0
    iterations: int = 0
    model: ModelSettings = ModelSettings()
    lora: LoRAConfig = WHOLE_MODELS
    data: DataConfig = field(default_factory=DataConfig)
    prompt: PromptConfig = PromptConfig()
    sft: SFTConfig = SFTConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    fgo: FGOConfig = FGOConfig()
    reward: RewardConfig = RewardConfig()
    kl: KLConfig = KLConfig()
    ppo: PPOConfig = PPOConfig()
    policy_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-7)
    critic_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1.5e-6)
    critic: CriticConfig = CriticConfig()
    sampling: SamplingConfig = SamplingConfig()
    rollout: RolloutConfig = RolloutConfig()
    executor: ExecutorSettings = ExecutorSettings()
    eval: EvalConfig = EvalConfig()
    mesh: MeshConfig = MeshConfig()
    distributed: DistributedConfig = DistributedConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()

    def __post_init__(self) -> None:
        check(self)

    @property
    def longest_prompt(self) -> int:
        """The most tokens of a prompt, its prefix included."""
        return self.data.max_prompt_tokens or self.rollout.prompt_buckets[-1]

    @property
    def longest_row(self) -> int:
        """The most tokens of a prompt and its response."""
        return self.longest_prompt + self.sampling.max_new_tokens

    @property
    def row_widths(self) -> tuple[int, ...]:
        """Lengths that rows of the update can have, ascending; none beyond what a row can need."""
        longest = self.rollout.prompt_buckets[-1] + self.sampling.max_new_tokens
        return (*(width for width in self.rollout.row_buckets if width < longest), longest)

    @property
    def rows(self) -> int:
        """Rollouts an iteration, B."""
        return self.rollout.problems * self.rollout.samples
