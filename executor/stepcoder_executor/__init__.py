"""Runs untrusted Python programs against tests in another process."""

from stepcoder_executor.backend import Backend, open_executor
from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.executor import Executor, ExecutorDied
from stepcoder_executor.protocol import (
    AssertionTests,
    IoTests,
    Limits,
    ProtocolError,
    Report,
    Request,
    Result,
    TestResult,
    Tests,
    Verdict,
    parse_request,
    parse_result,
    parse_tests,
    request_to_json,
    result_to_json,
    tests_to_json,
)

__all__ = [
    "AssertionTests",
    "Backend",
    "Executor",
    "ExecutorClient",
    "ExecutorConfig",
    "ExecutorDied",
    "IoTests",
    "Limits",
    "ProtocolError",
    "Report",
    "Request",
    "Result",
    "TestResult",
    "Tests",
    "Verdict",
    "open_executor",
    "parse_request",
    "parse_result",
    "parse_tests",
    "request_to_json",
    "result_to_json",
    "tests_to_json",
]
