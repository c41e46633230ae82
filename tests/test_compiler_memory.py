"""Memory of compiling goes back to the system after long compilations, and after nothing else."""

import ctypes
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from stepcoder_jax import compiler_memory

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the C library has been asked for."""
    calls: list[int] = []
    library = SimpleNamespace(malloc_trim=calls.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(compiler_memory.sys, "platform", "linux")
    compiler_memory.return_compilers_memory.cache_clear()
    compiler_memory.return_compilers_memory()
    compiler_memory.return_compilers_memory()
    return calls


def test_a_long_compilation_is_followed_by_one_request(asked: list[int]) -> None:
    jax.monitoring.record_event_duration_secs(COMPILED, 0.1)
    jax.monitoring.record_event_duration_secs("/jax/core/compile/jaxpr_trace_duration", 9.0)
    assert asked == []
    jax.monitoring.record_event_duration_secs(COMPILED, 9.0)
    assert asked == [0]


def test_a_compilation_is_reported_by_the_name_that_is_listened_for(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_memory, "_LEAST_S", 0.0)
    jax.jit(lambda x: x * 3 + 1).lower(jnp.ones(5)).compile()
    assert asked


@pytest.mark.parametrize(("platform", "library"), [("darwin", None), ("linux", SimpleNamespace())])
def test_without_such_a_library_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, platform: str, library: object
) -> None:
    monkeypatch.setattr(compiler_memory.sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    listeners: list[object] = []
    listen = "register_event_duration_secs_listener"
    monkeypatch.setattr(jax.monitoring, listen, listeners.append)
    compiler_memory.return_compilers_memory.cache_clear()
    compiler_memory.return_compilers_memory()
    compiler_memory.return_compilers_memory.cache_clear()
    assert not listeners
