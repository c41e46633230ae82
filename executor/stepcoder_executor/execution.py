"""One request on its way through a slot: what to ask next, and what the answers mean."""

from dataclasses import replace

from stepcoder_executor import assertions
from stepcoder_executor.brief import brief_of
from stepcoder_executor.covered import Span, either, executed_units
from stepcoder_executor.judge import CompareRule, judge_stdout, judge_value, text_of
from stepcoder_executor.protocol import (
    AssertionTests,
    Request,
    Result,
    TestResult,
    Verdict,
)
from stepcoder_executor.records import Record, read_records
from stepcoder_executor.slot.messages import ASSERTIONS, NO_LIMIT_S, STDIO, Answer, Job

_MIB = 1 << 20
_MEMORY_EXIT = 77
_UNTRUSTED = "trusted: false"


class Execution:
    """The state of one request. A test that fails in a process that has run others is run again."""

    def __init__(self, request: Request, *, rule: CompareRule, run_all: bool) -> None:
        self.request = request
        self._rule = rule
        self._run_all = run_all or request.report == "produced"
        self._done: list[TestResult] = []
        self._wall_s = 0.0
        self._executed = b""
        self._brief = brief_of(request)
        self._most_wall_s = request.limits.wall_s + 1

    @property
    def n_tests(self) -> int:
        """How many tests the request has."""
        return self._brief.n_tests

    @property
    def executed(self) -> bytes:
        """A byte for each code unit of the program: 1 if a test that counts executed it."""
        return self._executed

    def job(self, seq: int) -> bytes:
        """The content of the frame that asks a slot for the tests not yet settled."""
        limits = self.request.limits
        job = Job(
            seq=seq,
            mode=self._brief.mode,
            n_tests=self.n_tests,
            first=len(self._done),
            wall_s=limits.wall_s,
            cpu_s=NO_LIMIT_S if limits.cpu_s is None else limits.cpu_s,
            memory_bytes=int(limits.memory_mb * _MIB),
            output_bytes=self._brief.output_bytes,
            input_bytes=self._brief.input_bytes,
            coverage=self.request.coverage,
            run_all=self._run_all,
        )
        return job.to_content(self._brief.body)

    def is_decided(self, answer: Answer) -> bool:
        """Whether a child that is still running has already shown a test that does not pass."""
        if self._run_all:
            return False
        return any(
            self._judge(k, record, answer.stdout).verdict is not Verdict.PASSED
            for k, record in self._records(answer).items()
        )

    def absorb(self, answer: Answer) -> bool:
        """Take a finished child's answer; False if another child is needed."""
        is_settled = self._settle(answer)
        if answer.hits:
            self._executed = either(self._executed, executed_units(answer.hits, len(self._done)))
        return is_settled

    def _settle(self, answer: Answer) -> bool:
        """Add the tests that the answer settles; whether those were all."""
        self._wall_s += answer.wall_s
        first = len(self._done)
        found = self._records(answer)
        written = 0
        for k in range(first, self.n_tests):
            record = found.get(k)
            if record is None:
                test = self._unfinished(answer, k, written)
            else:
                test, written = self._judge(k, record, answer.stdout), record.stdout[1]
            if test.verdict is not Verdict.PASSED and k > first:
                return False
            self._done.append(test)
            if test.verdict is Verdict.COMPILE_ERROR:
                self._done = [test] * (self.n_tests if self._run_all else 1)
                return True
            if test.verdict is not Verdict.PASSED and not self._run_all:
                return True
            if record is None or record.is_last:
                break
        return len(self._done) == self.n_tests

    def failure(self, detail: str) -> Result:
        """The result when the executor itself could not run the request."""
        return Result(
            id=self.request.id,
            verdict=Verdict.EXECUTOR_ERROR,
            tests=tuple(self._done),
            covered=() if self.request.coverage else None,
            wall_s=self._wall_s,
            detail=detail,
        )

    def result(self, covered: tuple[Span, ...] | None, detail: str = "") -> Result:
        """The result, once every test is settled; ``detail`` is about the program as a whole."""
        verdicts = [test.verdict for test in self._done if test.verdict is not Verdict.PASSED]
        return Result(
            id=self.request.id,
            verdict=verdicts[0] if verdicts else Verdict.PASSED,
            tests=tuple(self._done),
            covered=covered,
            wall_s=self._wall_s,
            detail=detail,
        )

    def _records(self, answer: Answer) -> dict[int, Record]:
        return read_records(answer.records, self._most_wall_s, self.n_tests - len(self._done))

    def _judge(self, k: int, record: Record, stdout: bytes) -> TestResult:
        start, end = record.stdout
        printed = stdout[start:end]
        if max(len(printed), len(record.value)) > self._brief.output_bytes:
            return self._exceeded(record.wall_s)
        if record.verdict != "ran":
            is_known = record.verdict in _VERDICTS_OF_A_CHILD
            verdict = Verdict(record.verdict) if is_known else Verdict.RUNTIME_ERROR
            return self._measured(
                TestResult(verdict=verdict, wall_s=record.wall_s, detail=self._mark(k, record)),
                record.cpu_s,
            )
        verdict, detail = self._compare(k, record, printed)
        result = TestResult(verdict=verdict, wall_s=record.wall_s, detail=detail)
        if self._brief.mode == STDIO:
            return self._measured(result, record.cpu_s, printed.decode("utf-8", "surrogateescape"))
        return self._measured(result, record.cpu_s, record.value)

    def _measured(self, test: TestResult, cpu_s: float, output: str | None = None) -> TestResult:
        if self.request.report == "verdicts":
            return test
        return replace(test, cpu_s=cpu_s, output=output)

    def _compare(self, k: int, record: Record, printed: bytes) -> tuple[Verdict, str]:
        tests = self.request.tests
        if self.request.report == "produced":
            return Verdict.PASSED, ""
        if isinstance(tests, AssertionTests):
            return self._compare_assertion(k, record)
        if tests.fn_name is None:
            difference = judge_stdout(printed, text_of(tests.outputs[k]), self._rule)
        else:
            difference = judge_value(record.value, tests.outputs[k], self._rule)
        return (Verdict.PASSED, "") if difference is None else (Verdict.FAILED, difference)

    def _compare_assertion(self, k: int, record: Record) -> tuple[Verdict, str]:
        skeleton = self._brief.skeletons[k]
        if skeleton is None:
            return Verdict.PASSED, _UNTRUSTED
        try:
            is_true = assertions.holds(skeleton, record.value)
        except Exception as error:
            # The same expression raises the same in Python: it is the program's value at fault.
            return Verdict.RUNTIME_ERROR, f"{type(error).__name__}: {error} (in the assertion)"
        if is_true:
            return Verdict.PASSED, ""
        return Verdict.FAILED, f"assertion is false of {record.value[:80]}"

    def _mark(self, k: int, record: Record) -> str:
        detail = record.detail[:400]
        is_inside = self._brief.mode == ASSERTIONS and self._brief.skeletons[k] is None
        return f"{detail}; {_UNTRUSTED}" if is_inside else detail

    def _unfinished(self, answer: Answer, k: int, written: int) -> TestResult:
        """What became of the test during which the child ended."""
        wall_s, stdout = answer.wall_s, answer.stdout
        # A value too long for its file was cut off and has no end of line.
        cut_off = len(answer.records) - (answer.records.rfind(b"\n") + 1)
        if max(len(stdout) - written, cut_off) > self._brief.output_bytes:
            return self._exceeded(wall_s)
        if answer.timed_out:
            what = "compiling" if answer.phase == 0 else "the test"
            limits = self.request.limits
            limit = f"{limits.cpu_s:g} s of CPU" if answer.used_up_cpu else f"{limits.wall_s:g} s"
            detail = f"{what} took longer than {limit}"
            return TestResult(verdict=Verdict.TIMEOUT, wall_s=wall_s, detail=detail)
        if answer.exit_code == 0 and self._brief.mode == STDIO:
            record = Record(
                verdict="ran",
                detail="",
                value="",
                stdout=(written, len(stdout)),
                wall_s=min(wall_s, self.request.limits.wall_s),
                cpu_s=answer.cpu_s,
                is_last=True,
            )
            return self._judge(k, record, stdout)
        verdict, detail = _ending(answer)
        return TestResult(verdict=verdict, wall_s=wall_s, detail=detail)

    def _exceeded(self, wall_s: float) -> TestResult:
        detail = f"more than {self._brief.output_bytes} bytes of output"
        return TestResult(verdict=Verdict.OUTPUT_EXCEEDED, wall_s=wall_s, detail=detail)


_VERDICTS_OF_A_CHILD = frozenset({"failed", "runtime_error", "compile_error", "memory_exceeded"})


def _ending(answer: Answer) -> tuple[Verdict, str]:
    if answer.exit_code == _MEMORY_EXIT or answer.signal == 9:
        return Verdict.MEMORY_EXCEEDED, "the process ran out of memory"
    if answer.signal:
        detail = f"killed by signal {answer.signal}"
        if answer.phase == 0:
            return Verdict.COMPILE_ERROR, f"the compiler crashed: {detail}"
        return Verdict.RUNTIME_ERROR, detail
    return Verdict.RUNTIME_ERROR, f"left early with exit status {answer.exit_code}"
