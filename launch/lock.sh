#!/bin/sh
# Writes the three locks: what runs, what builds it, and the uv that fetches a Python when none is found.
# Every file keeps its hashes and loses everything that belongs to the machine that wrote it: index hosts,
# paths, comments. Usage: launch/lock.sh [--upgrade]
set -eu
cd "$(dirname "$0")/.."
command -v uv >/dev/null || { echo "lock: needs uv on PATH" >&2; exit 1; }

compile() {
    output=$1
    shift
    uv pip compile --quiet --generate-hashes --no-header --no-annotate \
        --no-emit-index-url --no-emit-find-links \
        --universal --python-version 3.12 --output-file "$output" "$@" >/dev/null
}

compile launch/requirements.lock "$@" --extra check --extra gguf \
    --no-emit-package stepcoder-executor pyproject.toml
echo 'setuptools>=77' | compile launch/build.lock "$@" -
echo 'uv>=0.9' | compile launch/bootstrap.lock "$@" -
