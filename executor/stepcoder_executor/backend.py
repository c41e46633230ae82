"""Which executor: this machine's, or that of a Ray cluster."""

from typing import Literal, get_args

from stepcoder_executor.client import ExecutorClient
from stepcoder_executor.config import ExecutorConfig
from stepcoder_executor.executor import Executor

Backend = Literal["local", "ray"]


def open_executor(
    config: ExecutorConfig | None = None, backend: Backend = "local", ray_address: str = "auto"
) -> Executor:
    """A running executor; close it, or use it as a context manager.

    Args:
        config: how to run programs.
        backend: ``local``: a broker on this machine; ``ray``: one on each node of a Ray cluster.
        ray_address: where the cluster is, see :class:`RayExecutor`; nothing to ``local``.

    Raises:
        ExecutorDied: it cannot start; the message says why.
        ValueError: there is no such backend.
    """
    match backend:
        case "local":
            return ExecutorClient(config)
        case "ray":
            # Not at the top: a broker imports this package too, and starts sooner without.
            from stepcoder_executor.ray_executor import RayExecutor

            return RayExecutor(config, ray_address)
    raise ValueError(f"backend is {backend!r}; allowed: {get_args(Backend)}")
