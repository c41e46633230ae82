"""The executor of a recipe, for as long as a block runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from stepcoder_executor import Executor, ExecutorConfig, open_executor

from stepcoder_jax.config import ExecutorSettings


@contextmanager
def executor(settings: ExecutorSettings) -> Iterator[Executor]:
    """The executor on its backend, for as long as the block runs."""
    config = ExecutorConfig(
        slots=settings.slots,
        isolation=settings.isolation,
        compare=settings.compare,
        run_all=settings.run_all,
    )
    with open_executor(config, settings.backend, settings.ray_address) as client:
        yield client
