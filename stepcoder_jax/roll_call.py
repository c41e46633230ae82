"""Who is still there when a run of several processes ends badly, and what each then says."""

import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import jax
from jax._src import distributed

from stepcoder_jax.last_word import LastWord
from stepcoder_jax.lifeline import Lifeline, Lifelines

_ENDED, _HERE, _LEFT = "stepcoder/ended", "stepcoder/here/", "stepcoder/left/"
_LIFELINES = "stepcoder/lifelines"
# How long a process that lives has to answer, and to end by itself afterwards.
_ANSWER_S, _GRACE_S = 3.0, 5.0
_PAUSE_S = 0.2
_LONG_MS = 1_000_000_000
_LIFELINES_MS = 10_000


def is_lost(error: BaseException) -> bool:
    """Whether an error is of the connection to another process."""
    is_told = any(word in str(error) for word in ("Gloo", "coordination service", "heartbeat"))
    return is_told and isinstance(error, jax.errors.JaxRuntimeError | ValueError)


class RollCall:
    """Listens, on a thread, for a process that ends the run; answers, and ends this one too.

    A process that waits for another in the middle of a computation cannot be reached otherwise.
    What is said goes by way of the service with which ``jax.distributed`` began: where process 0
    itself is lost, JAX ends the others at once, and ``LastWord`` is what speaks. That another was,
    process 0 learns from its ``Lifeline``, and says it in its place.
    """

    def __init__(self) -> None:
        self._client: Any = distributed.global_state.client
        self._own = jax.process_index()
        self._is_ending = False
        address = distributed.global_state.coordinator_address
        self._last_word = _on_process_0(address) if self._own and address else None
        self._lifelines = None if self._own else self._lifelines_for_all()
        self._lifeline = self._lifeline_to_first(address) if self._own else None
        self._listener = threading.Thread(
            target=self._listen, name="stepcoder-roll-call", daemon=True
        )
        self._listener.start()

    def _lifelines_for_all(self) -> Lifelines | None:
        """None where this host lets nobody listen."""
        found = None
        with suppress(OSError):
            found = Lifelines(self._miss)
        told = None if found is None else found.port_and_secret
        self._client.key_value_set(_LIFELINES, json.dumps(told))
        return found

    def _lifeline_to_first(self, address: str | None) -> Lifeline | None:
        """None where process 0 is reached at JAX's port alone."""
        with suppress(OSError, jax.errors.JaxRuntimeError):
            told = json.loads(self._client.blocking_key_value_get(_LIFELINES, _LIFELINES_MS))
            if address and told:
                host = address.rpartition(":")[0].strip("[]")
                return Lifeline((host, told[0]), told[1], self._own)
        return None

    def _miss(self, process: int) -> None:
        with suppress(jax.errors.JaxRuntimeError):
            told = {"process": process, "why": None, "missed": process}
            self._client.key_value_set(_ENDED, json.dumps(told))

    def end(self, error: BaseException) -> str | None:
        """Tells the others that this process ends, unless one has told before.

        Returns:
          What is to be said in place of the error; None: the error itself, which is this process's.
        """
        self._is_ending = True
        why = None if is_lost(error) else f"{type(error).__name__}: {error}"
        # Where another was first, what it said stays.
        with suppress(jax.errors.JaxRuntimeError):
            self._client.key_value_set(_ENDED, json.dumps({"process": self._own, "why": why}))
        return self._message() if why is None else None

    def take_leave(self) -> None:
        """The last thing before this process ends; the first waits a while for the others to.

        With process 0 goes the service, and JAX ends with a message of its own whoever is left.
        """
        self.dismiss()
        with suppress(jax.errors.JaxRuntimeError):
            if self._own:
                self._client.key_value_set(f"{_LEFT}{self._own}", "")
                return
            deadline = time.monotonic() + _ANSWER_S + _GRACE_S
            others = jax.process_count() - 1
            while len(self._client.key_value_dir_get(_LEFT)) < others:
                if time.monotonic() > deadline:
                    return
                time.sleep(_PAUSE_S)
            time.sleep(_PAUSE_S)

    def dismiss(self) -> None:
        """Lets this process end without a word beside its own, and unmissed."""
        if self._lifelines is not None:
            self._lifelines.close()
        if self._lifeline is not None:
            self._lifeline.let_go()
        if self._last_word is not None:
            self._last_word.spare()

    def wait_for_listener(self) -> None:
        """Once the service is gone, so is what listens there: Python must not end before it."""
        self._listener.join(_GRACE_S)

    def _listen(self) -> None:
        try:
            self._client.blocking_key_value_get(_ENDED, _LONG_MS)
            self._client.key_value_set(f"{_HERE}{self._own}", "")
            message = self._message()
        except jax.errors.JaxRuntimeError:
            # The run is over, or process 0 is gone.
            return
        time.sleep(_GRACE_S)
        if not self._is_ending:
            print(f"stepcoder: {message}", file=sys.stderr, flush=True)
        self.take_leave()
        os._exit(1)

    def _message(self) -> str:
        """Waits until all that live have answered, and says who ended the run, or who did not."""
        try:
            told = json.loads(self._client.blocking_key_value_get(_ENDED, _LONG_MS))
            time.sleep(_ANSWER_S)
            here = {
                int(key.removeprefix(_HERE)) for key, _ in self._client.key_value_dir_get(_HERE)
            }
        except jax.errors.JaxRuntimeError:
            told, here = {"why": None}, set(range(1, jax.process_count()))
        if told["why"] is not None:
            return f"process {told['process']} failed: {told['why']}"
        lost = ", ".join(str(i) for i in range(jax.process_count()) if i not in here)
        return (
            f"process {lost or told.get('missed', '?')} of the run was lost: it no longer answers."
            " The same command on every host goes on from the last checkpoint"
        )


def _on_process_0(address: str) -> LastWord:
    return LastWord(
        f"process 0 of the run was lost: nobody listens at its address {address} any more (if JAX"
        " names another one above, that was lost before it). The same command on every host goes on"
        " from the last checkpoint",
        unless=address,
    )
