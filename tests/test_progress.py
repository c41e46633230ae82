"""What a person sees of a phase: how far it is, and how long it will take."""

import time

import pytest

from stepcoder_jax.progress import Display


def test_the_time_left_is_that_of_steps_which_do_not_compile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Display().phase("ppo", 5, done=1) as meter:
        # The first takes 100 seconds, the others ten each.
        for now, at in ((1, 0.0), (2, 100.0), (3, 110.0), (5, 130.0)):
            clock[0] = at
            meter(now, {"pass": "0.50"})
    assert capsys.readouterr().err.splitlines() == [
        "ppo 2/5  pass 0.50  left ?",
        "ppo 3/5  pass 0.50  left 0:20",
        "ppo 5/5  pass 0.50  left 0:00",
    ]


def test_a_process_that_shows_nothing_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(shows=False)
    display.say("nothing")
    with display.phase("ppo", 1) as meter:
        meter(1, {})
    assert capsys.readouterr().err == ""
