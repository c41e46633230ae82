"""Clients on a rung of one's choice."""

import pytest
from stepcoder_executor import ExecutorClient, ExecutorConfig, ExecutorDied


@pytest.fixture(scope="session")
def client():
    """A client on the best rung that this machine has."""
    with ExecutorClient(ExecutorConfig(slots=2)) as shared:
        yield shared


@pytest.fixture
def only_rung():
    """A function that starts a client on one rung, or skips where the machine has it not."""

    def start(rung, **config):
        try:
            return ExecutorClient(ExecutorConfig(slots=2, isolation=rung, **config))
        except ExecutorDied as error:
            pytest.skip(f"this machine has no rung {rung!r}: {error}")

    return start
