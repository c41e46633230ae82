#!/bin/sh
# Prints the path of a Python that can run this project, or says in one sentence what to install.
#
# A candidate counts only if it starts (a pyenv shim may not), has a version that the lock was made for
# (3.12 to 3.14) and can make a virtual environment (Debian's python3 cannot without python3-venv).
# Order: $PYTHON, names on PATH, pyenv's versions, uv's, and at last a Python that uv downloads.
set -u
cd "$(dirname "$0")/.." || exit

say() { echo "setup: $*" >&2; }

# Prints the interpreter's own path when it is suitable; of a virtual environment, the one beneath it.
suitable() {
    "$1" -c '
import sys
if not (3, 12) <= sys.version_info[:2] <= (3, 14) or sys.implementation.name != "cpython":
    sys.exit(1)
import ensurepip, ssl, venv
print(sys._base_executable)' 2>/dev/null
}

first_suitable() {
    for candidate in "$@"; do
        if suitable "$candidate"; then return 0; fi
    done
    return 1
}

# Prints a uv that starts: the one on PATH, else the locked one, put into .venv-tools by any pip.
a_uv() {
    if uv --version >/dev/null 2>&1; then
        echo uv
        return 0
    fi
    private=.venv-tools/uv
    for python in python3 python; do
        [ -x "$private/bin/uv" ] && break
        "$python" -m pip --version >/dev/null 2>&1 || continue
        say "fetching uv into $private"
        PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install \
            -qq --target "$private" --require-hashes -r launch/bootstrap.lock >&2
    done
    "$private/bin/uv" --version >/dev/null 2>&1 && echo "$private/bin/uv"
}

if [ -n "${PYTHON:-}" ]; then
    suitable "$PYTHON" && exit 0
    say "PYTHON=$PYTHON does not start, is not CPython 3.12 to 3.14, or lacks the venv module;" \
        "set PYTHON to one that does, or unset it to let the set-up look for one."
    exit 1
fi

first_suitable python3.13 python3.14 python3.12 python3 python && exit 0

pyenv_root=${PYENV_ROOT:-${HOME:-}/.pyenv}
pyenv=$pyenv_root/versions
first_suitable "$pyenv"/3.13*/bin/python "$pyenv"/3.14*/bin/python "$pyenv"/*/bin/python && exit 0

if uv=$(a_uv); then
    found=$("$uv" python find --system '>=3.12,<3.15' 2>/dev/null) && suitable "$found" && exit 0
    say "no suitable Python here: uv downloads Python 3.13"
    UV_PYTHON_INSTALL_BIN=0 "$uv" python install --no-progress 3.13 >&2 &&
        found=$("$uv" python find --managed-python 3.13) && suitable "$found" && exit 0
fi

say "found no Python 3.12, 3.13 or 3.14 that starts and has the venv module: looked at \$PYTHON," \
    "python3.12 to python3.14, python3 and python on PATH, $pyenv_root/versions, and uv;" \
    "install Python 3.12 or newer (with its venv package, python3-venv on Debian) or uv," \
    "or set PYTHON to one."
exit 1
