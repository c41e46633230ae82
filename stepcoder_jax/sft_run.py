"""The SFT phase of a run, begun or taken up."""

from contextlib import closing

from stepcoder_jax.checkpoint import CheckpointStore
from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.training_set import fitting
from stepcoder_jax.model.lora import init_adapters
from stepcoder_jax.run import LORA_KEY, Run, say_left_out
from stepcoder_jax.sft import SFTPhase, SFTStep, init_sft_state
from stepcoder_jax.types import Params


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
    say_left_out(run, f"examples longer than sft.row_tokens = {config.sft.row_tokens}", long)
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
