"""The ``stepcoder-executor`` command."""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from types import FrameType
from typing import IO, Any, get_args

from stepcoder_executor.backend import Backend, open_executor
from stepcoder_executor.bench.rounds import Plan, measure, progress
from stepcoder_executor.bench.table import table
from stepcoder_executor.config import ExecutorConfig, Isolation
from stepcoder_executor.doctor import describe, examine
from stepcoder_executor.executor import Executor, ExecutorDied
from stepcoder_executor.protocol import ProtocolError, Result, parse_request, result_to_json

_DONE, _FAILED, _BAD_USAGE = 0, 1, 2
_AHEAD = 64

_DESCRIPTION = """\
Runs untrusted Python programs against tests, each in a sandboxed process of its own.

  stepcoder-executor run < requests.jsonl > results.jsonl
  stepcoder-executor doctor        what this machine can isolate, and what to change
  stepcoder-executor bench         programs a second here, beside the limit a bare fork sets
"""


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and run the command; returns 0 done, 1 failed, 2 bad usage."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(arguments.command(arguments))
    except (ExecutorDied, ValueError) as error:
        print(f"stepcoder-executor: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("stepcoder-executor: interrupted", file=sys.stderr)
        return _FAILED


class ResultWriter:
    """Writes result lines as programs finish, and lets only so many be on their way."""

    def __init__(self, out: IO[str], ahead: int) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._ahead = ahead
        self._room = threading.Semaphore(ahead)
        self.error: OSError | None = None

    def submit(self, client: Executor, number: int, line: bytes) -> None:
        """Start the request on one line; its result line follows, whatever the line holds."""
        fields: Any = None
        try:
            fields = json.loads(line)
            request = parse_request(fields)
        except (ValueError, RecursionError) as error:
            self._write(_refusal(fields, error, number))
            return
        self._room.acquire()
        try:
            future = client.submit(request)
        except ExecutorDied as error:
            self._room.release()
            self._write(_refusal(fields, error, number))
            return
        future.add_done_callback(lambda done: self._finish(fields, number, done))

    def drain(self) -> None:
        """Wait for every result that is outstanding."""
        for _ in range(self._ahead):
            self._room.acquire()

    def _finish(self, fields: Any, number: int, future: Future[Result]) -> None:
        try:
            self._write(result_to_json(future.result()))
        except ExecutorDied as error:
            self._write(_refusal(fields, error, number))
        except CancelledError:
            # Only an interrupted command cancels, and it has nothing more to say.
            return
        finally:
            self._room.release()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            with self._lock:
                self._out.write(json.dumps(line) + "\n")
                self._out.flush()
        except OSError as error:
            self.error = error


def run(arguments: argparse.Namespace) -> int:
    """Run the requests on standard input; results go to standard output as they come."""
    out = sys.stdout
    with (
        # Ray says on standard output what it has to say: there, only results may be.
        contextlib.redirect_stdout(sys.stderr),
        open_executor(_config(arguments), arguments.backend, arguments.ray_address) as client,
    ):
        print(f"stepcoder-executor: isolation {client.isolation}", file=sys.stderr)
        writer = ResultWriter(out, client.n_slots * 4 + _AHEAD)
        for number, line in enumerate(sys.stdin.buffer, start=1):
            if line.strip():
                writer.submit(client, number, line)
            if writer.error is not None:
                break
        writer.drain()
    if isinstance(writer.error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    if writer.error is not None:
        raise writer.error
    if client.death is not None:
        raise client.death
    return _DONE


def doctor(arguments: argparse.Namespace) -> int:
    """Say what this machine can isolate; fails where nothing but limits is to be had."""
    report = examine()
    print(json.dumps(report) if arguments.json else describe(report))
    return _DONE if report["rung"] is not None else _FAILED


def bench(arguments: argparse.Namespace) -> int:
    """Measure programs a second, beside the limit that a bare fork sets."""
    plan = Plan(
        programs=arguments.programs,
        rounds=arguments.rounds,
        slots=arguments.slots,
        parent_gib=arguments.parent_gib,
    )
    say = progress()
    try:
        report = measure(plan, say)
    finally:
        if say is not None:
            say("")
    print(json.dumps(report) if arguments.json else table(report))
    return _DONE


def _refusal(fields: Any, error: Exception, number: int) -> dict[str, Any]:
    """The result line of a request that cannot be run; without an id it names line ``number``."""
    own_id = fields.get("id") if isinstance(fields, dict) else None
    own_id = own_id if isinstance(own_id, str) else None
    is_syntax = not isinstance(error, ProtocolError | ExecutorDied)
    detail = f"not JSON: {error}" if is_syntax else str(error)
    return {
        "id": own_id,
        "verdict": "executor_error",
        "tests": [],
        "wall_s": 0.0,
        "detail": detail if own_id is not None else f"input line {number}: {detail}",
    }


def _config(arguments: argparse.Namespace) -> ExecutorConfig:
    return ExecutorConfig(
        slots=arguments.slots,
        isolation=arguments.isolation,
        compare=arguments.compare,
        run_all=arguments.run_all,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stepcoder-executor",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = _command(commands, "run", run, "run requests from stdin, results to stdout")
    command.add_argument("--slots", type=int, default=0, help="programs at a time; 0: one a CPU")
    command.add_argument(
        "--backend",
        choices=get_args(Backend),
        default="local",
        help="this machine, or every node of a Ray cluster",
    )
    command.add_argument(
        "--ray-address", default="auto", help="host:port of its head; auto: RAY_ADDRESS, or here"
    )
    command.add_argument(
        "--isolation",
        choices=get_args(Isolation),
        default="best",
        help="refuse without file and network isolation, take the best there is, or one rung",
    )
    command.add_argument(
        "--compare", choices=("strict", "apps"), default="strict", help="rule for outputs"
    )
    command.add_argument(
        "--run-all", action="store_true", help="go on after a test that did not pass"
    )
    command = _command(commands, "doctor", doctor, "say what this machine can isolate")
    command.add_argument("--json", action="store_true", help="one JSON object")
    command = _command(commands, "bench", bench, "measure programs a second")
    command.add_argument("--json", action="store_true", help="one JSON object")
    plan = Plan()
    command.add_argument(
        "--programs", type=int, default=plan.programs, help="programs a row and round (%(default)s)"
    )
    command.add_argument(
        "--rounds", type=int, default=plan.rounds, help="times that each row runs (%(default)s)"
    )
    command.add_argument("--slots", type=int, default=0, help="programs at a time; 0: one a CPU")
    command.add_argument(
        "--parent-gib",
        type=float,
        default=plan.parent_gib,
        help="GiB that the caller holds in two of the rows, as a trainer would; 0: no such rows "
        "(%(default)s)",
    )
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}."
    )
    command.set_defaults(command=function)
    return command


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
