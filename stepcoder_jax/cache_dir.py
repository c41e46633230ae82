"""Where this package keeps what it would otherwise make anew."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/stepcoder_jax``, or ``~/.cache/stepcoder_jax``; it need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "stepcoder_jax"
