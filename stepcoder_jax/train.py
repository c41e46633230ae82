"""A recipe from beginning to end: data, SFT, evaluation, PPO, evaluation, report."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import jax

from stepcoder_jax.config import RunConfig
from stepcoder_jax.evaluate import evaluate
from stepcoder_jax.executor_session import executor
from stepcoder_jax.model.lora import policy_to_serve
from stepcoder_jax.ppo_run import reinforce, take_up
from stepcoder_jax.processes import agree, from_first, together
from stepcoder_jax.progress import Display
from stepcoder_jax.recipe_changes import shared_fields
from stepcoder_jax.report import write_report
from stepcoder_jax.reward_function import resolve_reward
from stepcoder_jax.run import EVAL_KEY, Run, prepare
from stepcoder_jax.run_dir import RunDir
from stepcoder_jax.sft_run import fine_tune
from stepcoder_jax.stop import StopRequest
from stepcoder_jax.types import Params, Problem


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
    judge = together(lambda: resolve_reward(config.reward, config.executor))
    with _begun(config, display, stop, allow_changes=allow_changes) as run:
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
    with _begun(config, display, stop, allow_changes=allow_changes) as run:
        with jax.set_mesh(run.workshop.mesh):
            take_up(run)
            fine_tune(run)
        return {
            "loss": run.folder.last("metrics", phase="sft")["loss"],
            "sft_steps": config.sft.steps,
            "run_dir": str(config.run_dir),
        }


@contextmanager
def _begun(
    config: RunConfig, display: Display, stop: StopRequest, *, allow_changes: bool
) -> Iterator[Run]:
    """A recipe with its directory and executor open, in every process."""
    agree("the recipe", lambda: shared_fields(config) | {"version of jax": jax.__version__})
    with ExitStack() as stack:
        folder = stack.enter_context(closing(RunDir.open(config, allow_changes=allow_changes)))
        client = together(lambda: stack.enter_context(executor(config.executor)))
        yield together(lambda: prepare(config, folder, client, display, stop))


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
    worker = workshop.worker(run.client, run.stop.check, config)
    served = policy_to_serve(policy, run.frozen, lora=run.config.lora, dtype=run.config.model.dtype)
    found = evaluate(
        worker,
        workshop.builder,
        served,
        problems,
        key,
        config,
        run.display,
        title=f"evaluate {title}",
        longest_prompt=run.config.longest_prompt,
    )
    return found.to_json()


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
    page = from_first(lambda: str(write_report(run.folder.path)))
    run.display.say(f"report: {page}")
    return summary
