"""The mark of tests that compile C++."""

import os
import shlex
import shutil

import pytest

_COMPILER = (shlex.split(os.environ.get("CXX", "")) or ["c++"])[0]

compiled = pytest.mark.skipif(
    shutil.which(_COMPILER) is None, reason=f"there is no C++ compiler ({_COMPILER})"
)
