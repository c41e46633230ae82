"""What each command does. Heavy imports wait until a command needs them: ``--help`` is instant."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepcoder_jax.config import ConfigError, RunConfig
from stepcoder_jax.recipe import load_config


class UserError(Exception):
    """A message for the user, without a traceback; ``is_usage`` for what the command line said."""

    def __init__(self, message: str, *, is_usage: bool) -> None:
        super().__init__(message)
        self.is_usage = is_usage


def train(options: Namespace) -> dict[str, Any] | None:
    """``stepcoder train``: the summary; of several processes, the first one's."""
    with _user_errors():
        config = load_config(options.config, options.overrides)
        from stepcoder_jax.train import train as run_recipe

        return _run_recipe(run_recipe, config, options)


def sft(options: Namespace) -> dict[str, Any] | None:
    """``stepcoder sft``: the last loss; of several processes, the first one's."""
    with _user_errors():
        config = load_config(options.config, options.overrides)
        if config.sft.steps == 0:
            raise ConfigError("sft.steps = 0: this recipe has no supervised phase")
        from stepcoder_jax.train import fine_tune_only

        return _run_recipe(fine_tune_only, config, options)


def _run_recipe(
    run: Callable[..., dict[str, Any]], config: RunConfig, options: Namespace
) -> dict[str, Any] | None:
    """Runs a recipe as one of the processes that it names."""
    from stepcoder_jax.cluster import joined
    from stepcoder_jax.compiler_memory import return_compilers_memory
    from stepcoder_jax.processes import is_alone, is_first, signals_everywhere
    from stepcoder_jax.progress import Display
    from stepcoder_jax.stop import stop_on_signals

    return_compilers_memory()
    with joined(config.distributed):
        everywhere = None if is_alone() else signals_everywhere
        display = Display(shows=is_first())
        with stop_on_signals(everywhere) as stop:
            found = run(config, display, stop, allow_changes=options.allow_changes)
        return found if is_first() else None


def evaluate(options: Namespace) -> dict[str, Any]:
    """``stepcoder eval``: pass@k, by difficulty, verdicts."""
    with _user_errors(resumes=False):
        if any(word.partition("=")[0] == "--data.evaluate_count" for word in options.overrides):
            raise ConfigError("--data.evaluate_count is of a run's evaluations: here --count")
    if options.samples_file is not None:
        return _score_samples(options)
    with _user_errors(resumes=False):
        from stepcoder_jax.compiler_memory import return_compilers_memory
        from stepcoder_jax.evaluate_model import Wanted, evaluate_model

        return_compilers_memory()
        if options.extract:
            raise ConfigError("--extract is for --samples-file; of a model, set prompt.extract")
        wanted = Wanted(
            samples=options.samples,
            k=options.k,
            style=options.style,
            overrides=options.overrides,
        )
        return evaluate_model(
            options.model,
            options.problems,
            wanted=wanted,
            count=options.count,
            config_file=options.config,
            out=options.out,
            save_samples=options.save_samples,
        )


def _score_samples(options: Namespace) -> dict[str, Any]:
    with _user_errors(resumes=False):
        from stepcoder_jax.recipe import override
        from stepcoder_jax.score_samples import score_samples

        for name in ("samples", "style", "save_samples"):
            if getattr(options, name) is not None:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag}: the samples are there already (--samples-file)")
        plain = load_config(options.config) if options.config else RunConfig()
        return score_samples(
            options.samples_file,
            options.problems,
            config=override(plain, options.overrides),
            k=options.k,
            count=options.count,
            fence="search" if options.extract else "none",
            out=options.out,
        )


def data(options: Namespace) -> dict[str, Any]:
    """``stepcoder data check`` and ``stats``."""
    with _user_errors():
        from stepcoder_jax.data.raw import count_reasons
        from stepcoder_jax.data.sources import load_problem_set
        from stepcoder_jax.data.stats import check_problems, problem_stats

        loaded = load_problem_set(
            options.problems,
            manual_dir=options.manual_dir,
            data_dir=options.data_dir,
            count=options.count,
        )
        _print_reasons({row.where: row.reason for row in loaded.rejected})
        left_out = {"rows": len(loaded.rejected), "reasons": count_reasons(loaded.rejected)}
        if options.action == "stats":
            return problem_stats(loaded.problems) | {"left_out": left_out}
        found = check_problems(loaded.problems)
        _print_reasons(found["dropped"])
        return found | {"left_out": left_out}


def build(options: Namespace) -> dict[str, Any]:
    """``stepcoder data build``: counts and reasons."""
    with _user_errors():
        from stepcoder_jax.config import ExecutorSettings
        from stepcoder_jax.data.refinement.build import build as run_build
        from stepcoder_jax.data.refinement.settings import BuildSettings
        from stepcoder_jax.progress import Display
        from stepcoder_jax.stop import stop_on_signals

        settings = BuildSettings(
            problems=options.problems,
            out=options.out,
            manual_dir=options.manual_dir,
            count=options.count,
            runs=options.runs,
            solutions=options.solutions,
            tests=options.tests,
            agree=options.agree,
            against=tuple(options.against),
            ngram=options.ngram,
            overlap=options.overlap,
            near=options.near,
            seed=options.seed,
            cpu_s=options.cpu_s,
            executor=ExecutorSettings(
                slots=options.slots,
                isolation=options.isolation,
                memory_mb=options.memory_mb,
            ),
        )
        with stop_on_signals() as stop:
            return run_build(settings, Display(), stop)


def plan(options: Namespace) -> dict[str, Any]:
    """``stepcoder plan``: what the recipe needs of the machine."""
    with _user_errors(resumes=False):
        config = load_config(options.config, options.overrides)
        from stepcoder_jax.plan.plan import make_plan
        from stepcoder_jax.plan.programs import PROGRAMS

        programs = options.programs or tuple(PROGRAMS)
        unknown = [name for name in programs if name not in PROGRAMS]
        if unknown:
            raise ConfigError(f"--programs {','.join(unknown)}: there are {', '.join(PROGRAMS)}")
        return make_plan(
            config,
            options.topology,
            programs=programs,
            sweeps=options.sweep,
            compiles=not options.estimate,
            say=lambda text: print(text, file=sys.stderr),
        )


def plan_text(result: dict[str, Any]) -> str:
    """A plan in words and tables."""
    from stepcoder_jax.plan.report import plan_text

    return plan_text(result)


def bench(options: Namespace) -> dict[str, Any]:
    """``stepcoder bench``: tokens a second and peak memory."""
    with _user_errors():
        from stepcoder_jax.bench import BenchSettings, run_bench
        from stepcoder_jax.compiler_memory import return_compilers_memory

        return_compilers_memory()
        settings = BenchSettings(
            what=options.what,
            shape=options.shape,
            dtype=options.dtype,
            rows=options.rows,
            prompt_tokens=options.prompt_tokens,
            response_tokens=options.response_tokens,
            lengths=options.lengths,
            microbatches=options.microbatches,
            remat=options.remat,
            unroll=options.unroll,
            attention=options.attention,
            products=options.products,
            logprob_chunk_tokens=options.logprob_chunk_tokens,
            prefill_prompts=options.prefill_prompts,
        )
        return run_bench(settings, runs=options.runs)


def export(options: Namespace) -> dict[str, Any]:
    """``stepcoder export``: where the folder is."""
    with _user_errors():
        from stepcoder_jax.trained import export_adapters, export_run

        if options.adapter:
            return {"out": str(export_adapters(options.run_dir, options.out, options.dtype))}
        return {"out": str(export_run(options.run_dir, options.out, options.dtype))}


def report(options: Namespace) -> dict[str, Any]:
    """``stepcoder report``: where the page is."""
    with _user_errors():
        from stepcoder_jax.report import write_report

        return {"path": str(write_report(Path(options.run_dir)))}


@contextmanager
def _user_errors(*, resumes: bool = True) -> Iterator[None]:
    """Turns the errors that a user can mend into one line; everything else is a bug and stays.

    Args:
      resumes: whether the command, given again, goes on where it was stopped.
    """
    from stepcoder_executor import ExecutorDied

    from stepcoder_jax.stop import Interrupted

    try:
        yield
    except ConfigError as error:
        raise UserError(str(error), is_usage=True) from error
    except Interrupted as error:
        saved = "; what was done is saved: the same command goes on from there"
        message = f"{error}{saved if resumes else ''}"
        raise UserError(message, is_usage=False) from error
    except (ExecutorDied, FloatingPointError) as error:
        raise UserError(f"{error}", is_usage=False) from error
    except Exception as error:
        # Only now: the modules that define these errors import JAX, which not every command needs.
        from stepcoder_jax.errors import INPUT_ERRORS

        if not isinstance(error, INPUT_ERRORS):
            raise
        raise UserError(str(error), is_usage=False) from error


def _print_reasons(dropped: dict[str, str]) -> None:
    for name, reason in dropped.items():
        print(f"{name}: {reason}")
