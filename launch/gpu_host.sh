#!/bin/sh
# Trains on the GPUs of this machine: looks at the driver, sets up .venv with CUDA, sees whether JAX
# finds the GPUs, and starts the trainer with memory settings that suit it.
#
#   launch/gpu_host.sh --config configs/gpu/smollm2_135m.yaml [options] [-- --seed 1 ...]
#
#   --config FILE      the recipe
#   --gpus N           how many GPUs there must be (1); the trainer uses all that it sees
#   --mem-fraction F   share of a GPU's memory that JAX takes, 0.10 to 0.99 (0.92: nothing else runs there)
#   --preallocate B    true takes it at the start, without gaps; false as it is needed, beside others
#   --dry-run          print the commands and run none
#   -- ...             fields of the recipe, as `stepcoder train` takes them
#
# Which GPUs: CUDA_VISIBLE_DEVICES. Exit status: the trainer's; 2 for bad usage.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=launch/command.sh
. launch/command.sh

takes="config gpus mem_fraction preallocate"
gpus=1
mem_fraction=0.92
preallocate=true
# Of CUDA 12, which the [cuda] extra brings.
least_driver=525

read_options "$@"
[ -z "$action" ] || refuse "'$action': what goes to the trainer stands behind --"
check_config
check gpus '[1-9][0-9]?' "1 to 99"
check mem_fraction '0?\.[1-9][0-9]?' "0.10 to 0.99"
check preallocate 'true|false' "true, false"

check_driver() {
    set -- nvidia-smi --query-gpu=driver_version --format=csv,noheader
    if [ "$dry_run" = true ]; then
        run "$@"
        return 0
    fi
    command -v nvidia-smi >/dev/null || fail "nvidia-smi is not on PATH: is the NVIDIA driver installed?"
    versions=$("$@") || fail "nvidia-smi: $versions"
    count=$(printf '%s\n' "$versions" | wc -l)
    [ "$count" -ge "$gpus" ] || fail "--gpus is $gpus, and nvidia-smi lists $count"
    driver=$(printf '%s\n' "$versions" | sed -n '1s/^\([0-9]\{1,\}\)\..*/\1/p')
    [ -n "$driver" ] || fail "nvidia-smi names no driver version but says: $(echo "$versions" | head -n 1)"
    [ "$driver" -ge "$least_driver" ] ||
        fail "the NVIDIA driver is $(echo "$versions" | head -n 1); CUDA 12 needs $least_driver or newer"
}

check_jax() {
    run env JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_PREALLOCATE=false .venv/bin/python -c \
        "import jax; n = jax.device_count(); assert n >= $gpus, f'JAX sees {n} GPUs, not $gpus'"
}

start() {
    memory="XLA_PYTHON_CLIENT_MEM_FRACTION=$mem_fraction XLA_PYTHON_CLIENT_PREALLOCATE=$preallocate"
    # One process: nothing besides the recipe goes to the trainer.
    # shellcheck disable=SC2119
    eval "run_last env JAX_PLATFORMS=cuda $memory $(trainer)"
}

check_driver
set_up cuda
check_jax
start
