"""Where a run stops that was asked to."""

import signal

import pytest

from stepcoder_jax.stop import Interrupted, StopRequest


def test_alone_a_run_stops_at_the_next_look() -> None:
    request = StopRequest()
    request.check()
    request.signal = signal.SIGTERM
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        request.check()


def looks(request: StopRequest, asked_at: int | None) -> tuple[int, str]:
    """Looks until the run stops, and what it says then; the signal comes after so many looks."""
    for number in range(100):
        if number == asked_at:
            request.signal = signal.SIGINT
        try:
            request.check()
        except Interrupted as stop:
            return number + 1, str(stop)
    raise AssertionError


def test_processes_stop_at_the_same_look_whichever_was_asked_when() -> None:
    said = "stopped by SIGINT of process 1"
    for asked_at, stopped_at in ((0, 16), (3, 16), (17, 32)):
        request = StopRequest(lambda own: [0, own])
        assert looks(request, asked_at) == (stopped_at, said)


def test_a_process_that_was_not_asked_stops_with_the_others() -> None:
    request = StopRequest(lambda own: [int(signal.SIGTERM), own])
    assert looks(request, None) == (16, "stopped by SIGTERM of process 0")
