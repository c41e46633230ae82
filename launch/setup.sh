#!/bin/sh
# Makes .venv with the locked versions and both packages, editable. A second call with nothing changed
# returns at once; an interrupted call is made good by the next; concurrent calls wait for each other.
set -eu
# Asked for anything, this says what it does and does nothing.
[ $# -eq 0 ] || {
    sed -n '2,${/^[^#]/q;s/^# \{0,1\}//p;}' "$0"
    case $1 in -h | --help) exit 0 ;; esac
    echo "setup: '$1': takes no options" >&2
    exit 2
}
cd "$(dirname "$0")/.."
python=.venv/bin/python
stamp=.venv/.setup-done
unfinished=.venv/.setup-unfinished

say() { echo "setup: $*" >&2; }

# The place counts: a .venv that moved has scripts that name the old one.
fingerprint() {
    pwd -P
    cat launch/setup.sh launch/*.lock pyproject.toml executor/pyproject.toml | cksum
}

is_current() {
    [ ! -e "$unfinished" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] &&
        "$python" -c '' 2>/dev/null
}

# Held until this process ends. Where flock(1) is missing (macOS), a folder that names its owner serves.
take_lock() {
    mkdir -p .venv-tools
    if command -v flock >/dev/null 2>&1; then
        exec 9>.venv-tools/setup.lock
        flock -n 9 || { say "waiting for another set-up"; flock 9; }
        return 0
    fi
    lock=.venv-tools/setup.lock.d
    waited=0
    while ! mkdir "$lock" 2>/dev/null; do
        [ "$waited" -gt 0 ] || say "waiting for another set-up"
        owner=$(cat "$lock/pid" 2>/dev/null || echo)
        # An owner that died leaves the folder; one that died at once has not even signed it.
        case "$owner" in
        "") [ "$waited" -lt 3 ] || rm -rf "$lock" ;;
        *) kill -0 "$owner" 2>/dev/null || rm -rf "$lock" ;;
        esac
        waited=$((waited + 1))
        sleep 1
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT TERM HUP
}

# A .venv without a stamp was made by hand: what is missing is installed into it.
can_be_reused() {
    [ ! -e "$unfinished" ] || return 1
    [ ! -f "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$(pwd -P)" ] || return 1
    "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

make_venv() {
    can_be_reused && return 0
    chosen=$(sh launch/find_python.sh)
    [ -e .venv ] && say "replacing .venv: it is incomplete, moved, too old or without pip"
    rm -rf .venv
    mkdir .venv
    : >"$unfinished"
    say "making .venv with $chosen"
    "$chosen" -m venv .venv
}

# setuptools comes first: promise (needed by tensorflow-datasets) exists only as source.
install() {
    : >"$unfinished"
    say "installing the locked versions (one to three minutes the first time)"
    set -- env PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install -qq
    "$@" --require-hashes -r launch/build.lock
    "$@" --require-hashes --no-build-isolation -r launch/requirements.lock
    "$@" --no-deps --no-build-isolation --editable . --editable executor
}

unset PYTHONHOME PYTHONPATH
is_current && exit 0
take_lock
is_current && exit 0
make_venv
install
fingerprint >"$stamp"
rm -f "$unfinished"
say "done: .venv has $("$python" --version)"
