"""The SFT phase of a run, begun or taken up."""

from collections.abc import Sequence

from stepcoder_jax.checkpoint import open_store
from stepcoder_jax.config import ConfigError
from stepcoder_jax.data.example_rows import ExampleRows, one_a_row, packed
from stepcoder_jax.data.prompts import Example
from stepcoder_jax.model.lora import init_adapters
from stepcoder_jax.placement import spread
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
    phase = SFTPhase(
        step=step,
        frozen=run.frozen,
        config=config.sft,
        rows=_rows(run, _examples(run)),
        seed=config.seed,
        mesh=workshop.mesh,
        run=run.folder,
        display=run.display,
        stop=run.stop,
        checkpoint_every=config.checkpoint.sft_every,
    )
    state = spread(init_sft_state(step, policy), workshop.mesh)
    with open_store(run.folder.checkpoints("sft"), keep=1) as store:
        if store.latest is None:
            run.folder.rewind_before("sft")
        else:
            restored = store.restore(state)
            state = restored.state
            if restored.step < config.sft.steps:
                run.folder.rewind(restored.host["logs"])
        return phase.train(state, store).policy


def _examples(run: Run) -> list[Example]:
    """Demonstrations as token ids, made once; those that cannot be rows are left out and said."""
    width, builder = run.config.sft.row_tokens, run.workshop.builder
    problems = run.data.demonstrations
    unsolved = [p.id for p in problems if p.canonical_solution is None]
    say_left_out(run, "demonstrations without a solution", unsolved)
    examples, long = [], []
    for problem in (p for p in problems if p.canonical_solution is not None):
        example = None if builder.is_too_long(problem, width) else builder.example(problem)
        if example is None or len(example.tokens) > width:
            long.append(problem.id)
        else:
            examples.append(example)
    say_left_out(run, f"examples longer than sft.row_tokens = {width}", long)
    if not examples:
        raise ConfigError(f"sft.row_tokens = {width}: no example fits")
    return examples


def _rows(run: Run, examples: Sequence[Example]) -> ExampleRows:
    width, pad_token = run.config.sft.row_tokens, run.workshop.pad_token
    if run.config.sft.packing:
        rows = packed(examples, width, pad_token, seed=run.config.seed)
    else:
        rows = one_a_row(examples, width, pad_token)
    run.display.say(
        f"sft: {len(examples)} examples in {len(rows)} rows of {width} tokens,"
        f" {rows.used_fraction:.1%} of them used"
    )
    return rows


def _first_policy(run: Run) -> Params:
    """What is trained of the policy before any step: its adapters with LoRA, else all of it."""
    workshop = run.workshop
    if run.frozen is None:
        return workshop.place_policy(workshop.model.params)
    key, lora = run.key(LORA_KEY), run.config.lora
    return workshop.place_adapters(init_adapters(key, workshop.model.config, lora))
