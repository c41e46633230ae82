"""Where this package keeps what it would otherwise make anew."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/stepcoder_jax``, or ``~/.cache/stepcoder_jax``; it need not exist.

    Raises:
      RuntimeError: nothing says where home is.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    if cache:
        return Path(cache) / "stepcoder_jax"
    try:
        return Path.home() / ".cache" / "stepcoder_jax"
    except RuntimeError as error:
        raise RuntimeError("there is no home folder: set XDG_CACHE_HOME") from error
