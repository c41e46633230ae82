#!/bin/sh
# Measures one GPU of 80 GB or more: the tests that need one, then sampling and updates of made-up weights in
# bfloat16, one JSON object a line, the share of the memory's rate and the model-FLOPs utilisation among them.
#
#   launch/gpu_measure.sh [options]
#
#   --out FILE         where the lines go, added to those that are there (runs/gpu_measure.jsonl)
#   --runs N           timed runs of each, 1 to 99 (5)
#   --dry-run          print the commands and run none
#
# What fails is said and left out. Exit status: 0 if nothing failed, 1 if something did, 2 for bad usage.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=launch/command.sh
. launch/command.sh

takes="out runs"
out=runs/gpu_measure.jsonl
runs=5

read_options "$@"
[ -z "$action" ] || refuse "'$action': there is no action"
[ -z "$overrides" ] || refuse "-- $overrides: no recipe is run"
check runs '[1-9][0-9]?' "1 to 99"
check out '.*[^/]' "a file"

on_gpu="env JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_MEM_FRACTION=0.92"
failed=

note_failure() {
    say "failed: $*"
    failed=yes
}

# The last line of what `stepcoder bench` prints is the JSON object.
measure() {
    set -- .venv/bin/stepcoder bench "$@" --dtype bfloat16 --runs "$runs" --json
    # shellcheck disable=SC2086,SC2016
    run sh -c 'printed=$("$@") && printf "%s\n" "$printed" | sed -n "\$p" >>"$0"' "$out" $on_gpu "$@" ||
        note_failure "$@"
}

set_up cuda
run mkdir -p "$(dirname "$out")"
# shellcheck disable=SC2086
run $on_gpu .venv/bin/python -m pytest -m gpu || note_failure "the tests"

rollout="--rows 256 --prefill-prompts 64"
for attention in xla cudnn; do
    # shellcheck disable=SC2086
    measure rollout --shape smollm2-135m $rollout --attention $attention
done
# shellcheck disable=SC2086
measure rollout --shape small $rollout --attention cudnn
# shellcheck disable=SC2086
measure rollout --shape smollm2-135m $rollout --attention cudnn --lengths geometric
# shellcheck disable=SC2086
measure rollout --shape qwen2.5-coder-1.5b $rollout --attention cudnn

# 64 rows of 1024 tokens. Layers in a loop copy what the backward pass is kept; one by one they compile slowly.
update="--rows 64 --prompt-tokens 512 --response-tokens 512 --attention cudnn"
for unroll in --no-unroll --unroll; do
    # shellcheck disable=SC2086
    measure update --shape smollm2-135m $update $unroll --microbatches 2 --logprob-chunk-tokens 16384
    for microbatches in 2 4; do
        # shellcheck disable=SC2086
        measure update --shape qwen2.5-coder-1.5b $update $unroll --remat dots --microbatches $microbatches \
            --logprob-chunk-tokens 8192
    done
done

[ "$dry_run" = true ] || say "results: $out"
[ -z "$failed" ]
