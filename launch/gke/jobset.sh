#!/bin/sh
# Trains on one TPU slice of a GKE cluster: fills in jobset.yaml and hands it to kubectl, or says the XPK line.
#
#   launch/gke/jobset.sh ACTION --name N [options] [-- --seed 1 ...]
#
# Actions:
#   submit   apply the manifest; the JobSet starts over by itself after a preemption
#   show     print the manifest
#   status · logs · delete    of a JobSet; deleting sends SIGTERM, and the run is saved
#   xpk      the same with XPK: a workload on a cluster that `xpk cluster create` made
#
# Options:
#   --name N           of the JobSet and the run, at most 28 characters
#   --namespace N      (default)
#   --image I          for submit, show, xpk: see launch/gke/Dockerfile
#   --accelerator A    tpu-v4-podslice, tpu-v5-lite-podslice, tpu-v5p-slice or tpu-v6e-slice
#   --topology T       such as 4x4, or 2x2x4 for v4 and v5p
#   --config FILE      the recipe, as the image has it
#   --claim C          a volume claim that all hosts can write (ReadWriteMany, such as Filestore); the run is
#                      written to runs/NAME in it. With XPK: the name of a storage of the cluster
#   --slots N          programs that a host's executor runs at a time (32)
#   --max-restarts N   how often it starts over after a failure of its own (3)
#   --spot             on spot nodes
#   --worker N         for logs: which host (0)
#   --cluster C        for xpk
#   --zone Z           for xpk
#   --dry-run          print the commands and run none
#   -- ...             fields of the recipe, as `stepcoder train` takes them
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=launch/command.sh
. launch/command.sh
# shellcheck source=launch/manifest.sh
. launch/manifest.sh

actions="submit show status logs delete xpk"
takes="name namespace image accelerator topology config claim slots max_restarts worker cluster zone"
switches=spot
name=
namespace=default
image=
accelerator=
topology=
claim=
slots=32
max_restarts=3
spot=false
worker=0
cluster=
zone=

read_options "$@"
check_action
label='[a-z]([-a-z0-9]*[a-z0-9])?'
check name '[a-z]([-a-z0-9]{0,26}[a-z0-9])?' "small letters, digits and dashes, at most 28"
check namespace "$label" "small letters, digits and dashes"
check worker '[0-9]{1,4}' "the number of a host"

check_slice() {
    check image '[a-z0-9][A-Za-z0-9._/:@-]*' "an image, such as europe-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"
    check slots '[1-9][0-9]{0,2}' "1 to 999"
    check max_restarts '[0-9]{1,3}' "0 to 999"
    check claim "$label" "the name of a volume claim"
    check_config
    two='[1-9][0-9]*x[1-9][0-9]*'
    case $accelerator in
    tpu-v5-lite-podslice | tpu-v6e-slice) check topology "$two" "two numbers, such as 4x4" ;;
    tpu-v4-podslice | tpu-v5p-slice) check topology "${two}x[1-9][0-9]*" "three numbers, such as 2x2x4" ;;
    *) check accelerator tpu-v4-podslice "tpu-v4-podslice, tpu-v5-lite-podslice, tpu-v5p-slice, tpu-v6e-slice" ;;
    esac
    # Hosts have four chips, and of v5e and v6e there is one with up to eight.
    chips=$(($(echo "$topology" | tr x '*')))
    chips_per_host=4
    case $accelerator in
    tpu-v5-lite-podslice | tpu-v6e-slice) [ "$chips" -gt 8 ] || chips_per_host=$chips ;;
    esac
    [ $((chips % chips_per_host)) -eq 0 ] ||
        refuse "--topology is '$topology', $chips chips; allowed: multiples of $chips_per_host, as a host has"
    hosts=$((chips / chips_per_host))
    ours="--run_dir /mnt/stepcoder/runs/$name --executor.slots $slots --executor.isolation required"
    overrides="$ours${overrides:+ $overrides}"
    case $overrides in
    *"
"*) refuse "-- '$overrides': a field has more than one line; put it into the recipe" ;;
    esac
}

manifest() {
    fill launch/gke/jobset.yaml "NAME=$name" "IMAGE=$image" "ACCELERATOR=$accelerator" \
        "TOPOLOGY=$topology" "HOSTS=$hosts" "CHIPS_PER_HOST=$chips_per_host" "CPUS=$((slots + 16))" \
        "MEMORY_GIB=$((64 + (slots + 1) / 2))" "MAX_RESTARTS=$max_restarts" "CLAIM=$claim" \
        "TRAINER=$(trainer_doubling_dollars --distributed.auto true)"
}

kube() { run kubectl --namespace "$namespace" "$@"; }

submit() {
    write ".cache/$name.yaml" manifest
    kube apply --filename ".cache/$name.yaml"
}

# XPK names a slice by its cores where it has two a chip.
xpk_type() {
    case $accelerator in
    tpu-v4-podslice) echo "v4-$((2 * chips))" ;;
    tpu-v5p-slice) echo "v5p-$((2 * chips))" ;;
    tpu-v5-lite-podslice) echo "v5litepod-$chips" ;;
    tpu-v6e-slice) echo "v6e-$chips" ;;
    esac
}

with_xpk() {
    check cluster "$label" "the name of a cluster"
    check zone '[a-z]+-[a-z]+[0-9]+-[a-z]' "a zone, such as us-central2-b"
    set -- --workload "$name" --cluster "$cluster" --zone "$zone" --tpu-type "$(xpk_type)" \
        --docker-image "$image" --storage "$claim" --max-restarts "$max_restarts" \
        --termination-grace-period-seconds 600 \
        --command "cd /stepcoder-jax && exec $(trainer_doubling_dollars --distributed.auto true)"
    [ "$spot" = false ] || set -- "$@" --spot
    run xpk workload create "$@"
}

mine="jobset.sigs.k8s.io/jobset-name=$name"
case $action in
submit | show | xpk) check_slice ;;
esac
case $action in
submit) submit ;;
show) manifest ;;
xpk) with_xpk ;;
status)
    kube get jobset "$name"
    kube get pods --selector "$mine"
    ;;
logs)
    kube logs --follow --tail 100 --selector "$mine,batch.kubernetes.io/job-completion-index=$worker"
    ;;
delete) kube delete jobset "$name" ;;
esac
