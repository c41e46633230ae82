"""Runs one test of a compiled program, in a child that is this program's alone."""

import _thread
import atexit
import io
import os
import sys
import threading
import types
from dataclasses import dataclass
from typing import Any

from slot.values import NotEncodableError, encode_plain, encode_tagged

FILENAME = "<program>"
STDIN, STDOUT, STDERR = 0, 1, 2
_BUFFER_BYTES = 8192


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a test ended: ``ran``, when what it produced is to be judged, or a verdict.

    ``value`` is JSON text; ``is_last`` says that the process is not fit for another test.
    """

    verdict: str = "ran"
    detail: str = ""
    value: str = ""
    is_last: bool = False


@dataclass(frozen=True, kw_only=True)
class Program:
    """Compiled source and the ``builtins`` module it runs with."""

    code: types.CodeType
    builtins: types.ModuleType

    def run_stdio(self) -> Outcome:
        """Run the program as a script, to the end of everything it left for its exit."""
        open_standard_streams()
        module = self._fresh_module("__main__")
        outcome = Outcome()
        try:
            exec(self.code, vars(module))
        except SystemExit as stop:
            if stop.code not in (None, 0, False):
                outcome = Outcome(
                    verdict="runtime_error", detail=f"exit status {describe(stop.code)}"
                )
        except BaseException as error:
            outcome = from_exception(error)
        _finish_script(module)
        return outcome

    def run_call(self, fn_name: str, arguments: list[Any]) -> Outcome:
        """Call the named function, or method of ``Solution``, with ``arguments``."""
        try:
            module = self._fresh_module("solution")
            exec(self.code, vars(module))
            value = _find_function(vars(module), fn_name)(*arguments)
            return _settled(Outcome(value=encode_plain(value)))
        except NotEncodableError as error:
            return _settled(Outcome(verdict="failed", detail=str(error)))
        except BaseException as error:
            return _settled(from_exception(error))

    def run_expressions(self, setup: types.CodeType, leaves: list[types.CodeType]) -> Outcome:
        """Run ``setup``, then evaluate the parts of an assertion that need the program."""
        try:
            names = self._prepared_names(setup)
            values = [encode_tagged(eval(leaf, names)) for leaf in leaves]
            return _settled(Outcome(value=f"[{', '.join(values)}]"))
        except NotEncodableError as error:
            return _settled(Outcome(verdict="failed", detail=str(error)))
        except BaseException as error:
            return _settled(from_exception(error))

    def run_assertion(self, setup: types.CodeType, assertion: types.CodeType) -> Outcome:
        """Run ``setup`` and an assertion whose form cannot be judged from outside."""
        try:
            names = self._prepared_names(setup)
        except BaseException as error:
            return _settled(from_exception(error))
        try:
            exec(assertion, names)
            return _settled(Outcome(value="true"))
        except AssertionError as error:
            return _settled(Outcome(verdict="failed", detail=f"assertion: {describe(error)}"))
        except BaseException as error:
            return _settled(from_exception(error))

    def _prepared_names(self, setup: types.CodeType) -> dict[str, Any]:
        names = vars(self._fresh_module("solution"))
        exec(self.code, names)
        exec(setup, names)
        return names

    def _fresh_module(self, name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        vars(module)["__builtins__"] = self.builtins
        sys.modules |= {name: module, "__main__": module, "builtins": self.builtins}
        sys.argv = ["solution.py"]
        return module


def open_standard_streams() -> None:
    """Give ``sys`` new text streams over the real descriptors 0 and 1, and its own over 2."""
    stdin = _text(io.BufferedReader(_raw(STDIN, "r", "<stdin>"), _BUFFER_BYTES), "r")
    stdout = _text(io.BufferedWriter(_raw(STDOUT, "w", "<stdout>"), _BUFFER_BYTES), "w")
    names = vars(sys)
    names["stdin"] = names["__stdin__"] = stdin
    names["stdout"] = names["__stdout__"] = stdout
    names["stderr"] = names["__stderr__"] = _STDERR


def from_exception(error: BaseException) -> Outcome:
    """The outcome of an exception that nobody caught."""
    if isinstance(error, MemoryError):
        return Outcome(verdict="memory_exceeded", detail="MemoryError")
    name, line = type(error).__name__, _last_line(error)
    place = f" (line {line})" if line else ""
    detail = f"{name}: {describe(error)}{place}" if str(name) else place
    return Outcome(verdict="runtime_error", detail=detail)


def describe(value: object) -> str:
    """``str(value)``, shortened; the program may have defined it to do anything."""
    try:
        text = str(value)
        return text if len(text) <= 200 else f"{text[:200]}…"
    except BaseException:
        return "<no text>"


def _raw(fd: int, mode: str, name: str) -> io.FileIO:
    raw = io.FileIO(fd, mode, closefd=False)
    raw.name = name
    return raw


def _text(
    buffer: io.BufferedReader | io.BufferedWriter, mode: str, errors: str = "surrogateescape"
) -> io.TextIOWrapper:
    """A stream with all that Python's own has; fast readers of contests ask for its ``mode``."""
    stream = io.TextIOWrapper(buffer, "utf-8", errors, write_through=False)
    vars(stream)["mode"] = mode
    return stream


# Nobody reads what is written here: one stream does for all tests, as long as none closes it.
_STDERR = _text(io.BufferedWriter(_raw(STDERR, "w", "<stderr>")), "w", "backslashreplace")


def _find_function(names: dict[str, Any], fn_name: str) -> Any:
    found = names.get(fn_name)
    if found is None and isinstance(names.get("Solution"), type):
        found = getattr(names["Solution"](), fn_name, None)
    if not callable(found):
        raise NameError(f"the program defines no function {fn_name!r}")
    return found


def _settled(outcome: Outcome) -> Outcome:
    """Flush what was printed; a process that still has threads takes no other test."""
    _flush()
    is_last = _thread._count() > 0
    return Outcome(
        verdict=outcome.verdict, detail=outcome.detail, value=outcome.value, is_last=is_last
    )


def _finish_script(module: types.ModuleType) -> None:
    """Do what the interpreter does at exit: wait for threads, exit hooks, last flushes."""
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    atexit._run_exitfuncs()
    _flush()
    vars(module).clear()
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        try:
            if stream is not None:
                stream.flush()
        except BaseException:
            # The judge sees how much was written; a stream the program broke has nothing more.
            continue


def _last_line(error: BaseException) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def restore_descriptors(stdin_fd: int, stdout_fd: int, text: bytes = b"") -> int:
    """Point 0 and 1 at the slot's files again, with ``text`` to read; returns the output's size."""
    os.dup2(stdin_fd, STDIN)
    os.dup2(stdout_fd, STDOUT)
    os.ftruncate(stdin_fd, 0)
    if text:
        os.pwrite(stdin_fd, text, 0)
    os.lseek(stdin_fd, 0, os.SEEK_SET)
    return os.fstat(stdout_fd).st_size
