"""A recipe from beginning to end: data, SFT, evaluation, PPO, evaluation, report."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax
from stepcoder_executor import Executor

from stepcoder_jax import curriculum
from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.data.prompts import requirement
from stepcoder_jax.data.training_set import TrainingSet, fitting, make_training_set
from stepcoder_jax.evaluate import evaluate
from stepcoder_jax.experience import Collector
from stepcoder_jax.learner import Learner, first_critic, init_state
from stepcoder_jax.model.lora import init_adapters, policy_to_serve
from stepcoder_jax.ppo import PPOPhase
from stepcoder_jax.ppo_progress import Progress, check_problems
from stepcoder_jax.progress import Display
from stepcoder_jax.report import write_report
from stepcoder_jax.reward_function import Judge, resolve_reward
from stepcoder_jax.run_data import RunData, load_run_data
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sft import SFTPhase, SFTStep, init_sft_state
from stepcoder_jax.sharding import make_mesh
from stepcoder_jax.starting_model import starting_model
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.trainer import Trainer
from stepcoder_jax.types import Params, Problem
from stepcoder_jax.workshop import Workshop, executor, own_copy

# What each use of randomness folds into the run's key.
SFT_KEY, PPO_KEY, EVAL_KEY, LORA_KEY = 0, 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe under way: what every phase needs.

    Attributes:
      frozen: with LoRA the starting model's parameters, on the mesh; None where they are trained.
    """

    config: RunConfig
    folder: RunDir
    display: Display
    stop: StopRequest
    client: Executor
    data: RunData
    workshop: Workshop
    frozen: Params | None

    def key(self, use: int) -> jax.Array:
        """The root of one use of randomness."""
        return jax.random.fold_in(jax.random.key(self.config.seed), use)


def train(
    config: RunConfig, display: Display, stop: StopRequest, *, allow_changes: bool = False
) -> dict[str, Any]:
    """Runs a recipe, or the rest of it, and returns the summary.

    Args:
      allow_changes: go on with a run that another recipe began.

    Raises:
      ConfigError, ProblemError, RunDirError, ModelLoadError: the recipe cannot be run.
      Interrupted: a stop was asked for; the same call goes on from there.
    """
    judge = resolve_reward(config.reward, config.executor)
    with (
        closing(RunDir.open(config, allow_changes=allow_changes)) as folder,
        executor(config.executor) as client,
    ):
        run = prepare(config, folder, client, display, stop)
        with jax.set_mesh(run.workshop.mesh):
            data = take_up(run)
            policy = fine_tune(run)
            before = evaluate_all(run, policy, "after_sft" if config.sft.steps else "before")
            if data is None:
                return _summarise(run, {"before": before, "after": before})
            progress = reinforce(run, data, policy, judge)
            after = evaluate_all(run, progress.state.policy, "after_ppo")
        return _summarise(run, {"before": before, "after": after})


def fine_tune_only(
    config: RunConfig, display: Display, stop: StopRequest, *, allow_changes: bool = False
) -> dict[str, Any]:
    """The supervised phase alone; the run can be taken up by ``train`` afterwards."""
    with (
        closing(RunDir.open(config, allow_changes=allow_changes)) as folder,
        executor(config.executor) as client,
    ):
        run = prepare(config, folder, client, display, stop)
        with jax.set_mesh(run.workshop.mesh):
            take_up(run)
            fine_tune(run)
        return {
            "loss": folder.last("metrics", phase="sft")["loss"],
            "sft_steps": config.sft.steps,
            "run_dir": str(config.run_dir),
        }


def prepare(
    config: RunConfig, folder: RunDir, client: Executor, display: Display, stop: StopRequest
) -> Run:
    """Loads data and model, and checks that they go together, before any long work."""
    display.say(f"run {config.run_dir}  ·  executor isolation: {client.isolation}")
    if config.rollout.staleness and jax.process_count() > 1:
        raise ConfigError(
            f"rollout.staleness = 1 with {jax.process_count()} processes: 0, as all of them must"
            " run the same programs in the same order, and two threads have none"
        )
    data = load_run_data(config, folder, client, display)
    texts = [
        text
        for p in (*data.problems, *data.demonstrations)
        for text in (requirement(p, config.prompt.shown_tests), p.canonical_solution or "")
    ]
    model = starting_model(
        config.model,
        mesh=make_mesh(config.mesh),
        texts=texts,
        tokenizer_dir=folder.tokenizer,
        seed=config.seed,
    )
    workshop = Workshop.of(config, model)
    return Run(
        config=config,
        folder=folder,
        display=display,
        stop=stop,
        client=client,
        data=data,
        workshop=workshop,
        frozen=workshop.place_policy(model.params) if config.lora.rank else None,
    )


def fine_tune(run: Run) -> Params:
    """The SFT phase, or what is left of it; its result is the reference of PPO."""
    config, workshop = run.config, run.workshop
    policy = _first_policy(run)
    if config.sft.steps == 0:
        return policy
    step = SFTStep(
        policy=workshop.decoder,
        optimizer=config.sft.optimizer,
        total_steps=config.sft.steps,
        logprob_chunk_tokens=config.model.logprob_chunk_tokens,
        lora=config.lora,
    )
    solved = [p for p in run.data.demonstrations if p.canonical_solution is not None]
    kept, long = fitting(
        solved, lambda p: len(workshop.builder.example(p).tokens) <= config.sft.row_tokens
    )
    _say_left_out(run, f"examples longer than sft.row_tokens = {config.sft.row_tokens}", long)
    if not kept:
        raise ConfigError(f"sft.row_tokens = {config.sft.row_tokens}: no example fits")
    phase = SFTPhase(
        step=step,
        frozen=run.frozen,
        config=config.sft,
        examples=[workshop.builder.example(p) for p in kept],
        pad_token=workshop.pad_token,
        seed=config.seed,
        mesh=workshop.mesh,
        run=run.folder,
        display=run.display,
        stop=run.stop,
        checkpoint_every=config.checkpoint.sft_every,
    )
    state = init_sft_state(step, policy)
    with closing(CheckpointStore(run.folder.checkpoints("sft"), keep=1)) as store:
        if store.latest is None:
            run.folder.rewind_before("sft")
        else:
            restored = store.restore(state)
            state = restored.state
            if restored.step < config.sft.steps:
                run.folder.rewind(restored.host["logs"])
        return phase.train(state, store).policy


def _first_policy(run: Run) -> Params:
    """What is trained of the policy before any step: its adapters with LoRA, else all of it."""
    workshop = run.workshop
    if run.frozen is None:
        return workshop.place_policy(workshop.model.params)
    key, lora = run.key(LORA_KEY), run.config.lora
    return workshop.place_adapters(init_adapters(key, workshop.model.config, lora))


def make_learner(run: Run) -> Learner:
    """The learner of the PPO phase."""
    config, workshop = run.config, run.workshop
    ppo = config.ppo
    return Learner(
        policy=workshop.decoder,
        critic=workshop.critic,
        ppo=ppo,
        kl=config.kl,
        policy_optimizer=config.policy_optimizer,
        critic_optimizer=config.critic_optimizer,
        critic_steps=config.critic.steps,
        temperature=config.sampling.temperature,
        critic_backbone=config.critic.backbone,
        group_size=config.rollout.samples,
        response_tokens=config.sampling.max_new_tokens,
        importance_cap=ppo.importance_cap if config.rollout.staleness else None,
        logprob_chunk_tokens=config.model.logprob_chunk_tokens,
        total_steps=config.iterations * ppo.epochs * ppo.minibatches,
        lora=config.lora,
    )


def take_up(run: Run) -> TrainingSet | None:
    """What PPO trains on, None without it; only now is a recipe that has changed the run's own.

    Raises:
      ConfigError: no problem fits the recipe.
      CheckpointError: as ``check_checkpoint``.
    """
    data = _training_set(run) if run.config.iterations else None
    check_checkpoint(run, data)
    for change in run.folder.changes:
        run.display.say(f"CHANGED in this run: {change}")
    run.folder.adopt(run.config)
    return data


def check_checkpoint(run: Run, data: TrainingSet | None) -> None:
    """Sees whether the PPO phase can be taken up, before anything long is done.

    Raises:
      CheckpointError: the newest checkpoint is damaged, or another recipe's.
    """
    model, lora, learner = run.workshop.model, run.config.lora, make_learner(run)

    def first_state() -> dict[str, Any]:
        policy = model.params
        if run.frozen is not None:
            policy = init_adapters(run.key(LORA_KEY), model.config, lora)
        critic = first_critic(learner.critic_kind, policy, model.config)
        return vars(init_state(learner, policy, critic))

    folder = run.folder.checkpoints("ppo")
    if folder.exists():
        with closing(CheckpointStore(folder, keep=run.config.checkpoint.keep)) as store:
            if store.latest is not None:
                store.check(jax.eval_shape(first_state))
                if data is not None:
                    check_problems(store, data)


def reinforce(run: Run, data: TrainingSet, policy: Params, judge: Judge) -> Progress:
    """The PPO phase, or what is left of it; ``judge`` is the recipe's reward function."""
    config, workshop = run.config, run.workshop
    learner = make_learner(run)
    critic = workshop.place_critic(first_critic(learner.critic_kind, policy, workshop.model.config))
    state = init_state(learner, own_copy(policy), critic)
    phase = _ppo_phase(run, learner, data, policy, judge)
    with closing(CheckpointStore(run.folder.checkpoints("ppo"), keep=config.checkpoint.keep)) as s:
        if s.latest is None:
            run.folder.rewind_before("ppo")
            begin = curriculum.initial_state(data.curricula)
            progress = Progress(iteration=0, state=state, curriculum=begin)
        else:
            progress = phase.progress_file(s).restore(state)
        return phase.train(progress, s)


def _ppo_phase(
    run: Run, learner: Learner, data: TrainingSet, reference: Params, judge: Judge
) -> PPOPhase:
    config, workshop, key = run.config, run.workshop, run.key(PPO_KEY)
    worker = workshop.worker(
        run.client,
        run.stop.check,
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        reference_s=run.data.reference_s,
    )
    return PPOPhase(
        config=config,
        collector=Collector(config=config, worker=worker, data=data, key=key, mesh=workshop.mesh),
        trainer=Trainer(
            config=config,
            learner=learner,
            reference=reference,
            frozen=run.frozen,
            key=key,
            mesh=workshop.mesh,
            run=run.folder,
            display=run.display,
            pad_token=workshop.pad_token,
        ),
        judge=judge,
        run=run.folder,
        display=run.display,
        check=run.stop.check,
    )


def evaluate_all(run: Run, policy: Params, label: str) -> dict[str, Any]:
    """Evaluates on every set of ``data.evaluate``; what has been evaluated before is kept."""
    found: dict[str, Any] = {}
    for number, name in enumerate(run.data.evaluations, start=1):
        known = run.folder.evaluation(f"{label}:{name}")
        if known is None:
            key = jax.random.fold_in(run.key(EVAL_KEY), number)
            known = _evaluate(run, policy, f"{label} on {name}", run.data.evaluations[name], key)
            run.folder.keep_evaluation(f"{label}:{name}", known)
        # Of its own: a kill, or logs that were cut back, leave what was found without its row.
        row = {"phase": "eval", "label": label, "set": name}
        if not run.folder.has("metrics", row):
            run.folder.append("metrics", {**row, **known})
        rates = "  ".join(f"pass@{k} {known[f'pass@{k}']:.3f}" for k in run.config.eval.k)
        run.display.say(f"{label} on {name} ({known['problems']} problems): {rates}")
        found[name] = known
    return found


def _evaluate(
    run: Run, policy: Params, title: str, problems: Sequence[Problem], key: jax.Array
) -> dict[str, Any]:
    config, workshop = run.config.eval, run.workshop
    worker = workshop.worker(
        run.client, run.stop.check, temperature=config.temperature, top_p=config.top_p
    )
    with run.display.phase(f"evaluate {title}", len(problems) * config.samples) as meter:

        def sampled(count: int) -> None:
            meter(count, {})

        served = policy_to_serve(
            policy, run.frozen, lora=run.config.lora, dtype=run.config.model.dtype
        )
        found = evaluate(
            worker,
            workshop.builder,
            served,
            problems,
            key,
            config,
            sampled,
            longest_prompt=run.config.longest_prompt,
        )
        return found.to_json()


def _training_set(run: Run) -> TrainingSet:
    data = make_training_set(run.data.problems, run.workshop.builder, run.config)
    for reason, ids in data.left_out.items():
        _say_left_out(run, reason, ids)
    if not data.problems:
        raise ConfigError(f"data.train = {run.config.data.train!r}: no problem fits the recipe")
    unread = [c.problem_id for c in data.curricula if c.parse_error is not None]
    _say_left_out(run, "solutions that do not parse, trained at stage 0 only", unread)
    stages = sum(len(c.prefixes) for c in data.curricula) / len(data.curricula)
    run.display.say(f"ppo: {len(data.problems)} problems, {stages:.2f} stages in the mean")
    return data


def _say_left_out(run: Run, reason: str, ids: Sequence[str]) -> None:
    if ids:
        run.display.say(f"{len(ids)} problems: {reason} (first: {ids[0]})")


def _summarise(run: Run, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rates = {
        when: {name: known["pass@1"] for name, known in by_set.items()}
        for when, by_set in found.items()
    }
    summary = {
        "pass@1_before": rates["before"],
        "pass@1_after": rates["after"],
        "sft_steps": run.config.sft.steps,
        "steps": run.config.iterations,
        "run_dir": str(run.config.run_dir),
    }
    run.folder.write_json("summary.json", summary)
    page = write_report(run.folder.path)
    run.display.say(f"report: {page}")
    return summary
