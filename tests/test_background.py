"""Work beside other work: its value or error comes to who waits, and it ends with the block."""

import threading

import pytest

from stepcoder_jax.background import Check, in_background


def test_the_value_comes_to_who_waits_while_the_block_runs() -> None:
    may_end = threading.Event()

    def work(_: Check) -> str:
        assert may_end.wait(10)
        return threading.current_thread().name

    with in_background(work) as future:
        assert not future.done()
        may_end.set()
        assert "background" in future.result()


def test_an_error_of_the_work_comes_to_who_waits() -> None:
    def work(_: Check) -> None:
        raise ValueError("broken work")

    with pytest.raises(ValueError, match="broken work"), in_background(work) as future:
        future.result()


def test_a_block_left_by_an_exception_abandons_the_work_and_waits_for_its_end() -> None:
    pieces = []

    def work(check: Check) -> None:
        while len(pieces) < 10_000:
            check()
            pieces.append(threading.Event().wait(0.01))

    with pytest.raises(KeyboardInterrupt), in_background(work):
        raise KeyboardInterrupt
    done = len(pieces)
    threading.Event().wait(0.05)
    assert len(pieces) == done < 10_000
