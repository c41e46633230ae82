"""The PPO phase of a run, begun or taken up."""

from typing import Any

import jax

from stepcoder_jax import curriculum
from stepcoder_jax.checkpoint import open_store
from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.training_set import TrainingSet, make_training_set
from stepcoder_jax.experience import Collector
from stepcoder_jax.learner import Learner, first_critic, init_state
from stepcoder_jax.learner_of import learner_of
from stepcoder_jax.model.lora import init_adapters
from stepcoder_jax.placement import spread
from stepcoder_jax.ppo import PPOPhase
from stepcoder_jax.ppo_progress import Progress, check_problems
from stepcoder_jax.processes import from_first
from stepcoder_jax.reward_function import Judge
from stepcoder_jax.run import LORA_KEY, PPO_KEY, Run, say_left_out
from stepcoder_jax.trainer import Trainer
from stepcoder_jax.types import Params
from stepcoder_jax.workshop import own_copy


def make_learner(run: Run) -> Learner:
    """The learner of the PPO phase."""
    return learner_of(run.config, run.workshop.decoder, run.workshop.critic)


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
    if from_first(folder.exists):
        with open_store(folder, keep=run.config.checkpoint.keep) as store:
            if store.latest is not None:
                store.check(jax.eval_shape(first_state))
                if data is not None:
                    check_problems(store, data)


def reinforce(run: Run, data: TrainingSet, policy: Params, judge: Judge) -> Progress:
    """The PPO phase, or what is left of it; ``judge`` is the recipe's reward function."""
    config, workshop = run.config, run.workshop
    learner = make_learner(run)
    critic = workshop.place_critic(first_critic(learner.critic_kind, policy, workshop.model.config))
    state = spread(init_state(learner, own_copy(policy), critic), workshop.mesh)
    phase = _ppo_phase(run, learner, data, policy, judge)
    with open_store(run.folder.checkpoints("ppo"), keep=config.checkpoint.keep) as s:
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
        config.sampling,
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


def _training_set(run: Run) -> TrainingSet:
    data = make_training_set(run.data.problems, run.workshop.builder, run.config)
    for reason, ids in data.left_out.items():
        say_left_out(run, reason, ids)
    if not data.problems:
        raise ConfigError(f"data.train = {run.config.data.train!r}: no problem fits the recipe")
    unread = [c.problem_id for c in data.curricula if c.parse_error is not None]
    say_left_out(run, "solutions that do not parse, trained at stage 0 only", unread)
    stages = sum(len(c.prefixes) for c in data.curricula) / len(data.curricula)
    run.display.say(f"ppo: {len(data.problems)} problems, {stages:.2f} stages in the mean")
    return data
