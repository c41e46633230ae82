#!/bin/sh
# Trains on one TPU slice of Google Cloud: a queued resource, the code on all its hosts, a trainer on each.
#
#   launch/tpu_vm.sh ACTION --name N --zone Z [options] [-- --seed 1 ...]
#
# Actions:
#   up       everything: create, wait, copy, setup, start; what a preemption left is deleted first.
#            The run goes on where its last checkpoint was
#   watch    up, and again after every preemption, until the run has ended
#   create · wait · copy · setup · start    the parts of up, in this order
#   status   the state of the resource, and of the trainer on every host
#   logs     follow the log of one host (--worker)
#   stop     SIGTERM to the trainers, which save and end; the slice stays
#   delete   give the slice back
#
# Options:
#   --name N           of the resource, its node and the run
#   --zone Z           such as us-central2-b
#   --project P        (gcloud's own setting)
#   --accelerator A    for create, such as v5litepod-16, v5p-128, v6e-64, v4-32
#   --runtime R        software of the hosts (the one made for the accelerator)
#   --spot             can be preempted
#   --config FILE      for start: the recipe; what is committed of this checkout is copied, nothing else
#   --nfs HOST:/SHARE  storage of all hosts, such as Filestore, mounted at /mnt/stepcoder; the run is
#                      written there. A slice with several hosts, or with --spot, needs it
#   --worker N         for logs: which host (0)
#   --interval-s N     between two looks at the state (30)
#   --dry-run          print the commands and run none, as if nothing were there yet
#   -- ...             fields of the recipe, as `stepcoder train` takes them
#
# Exit status: 0 done, 1 failed, 2 bad usage. Needs gcloud, logged in, and git.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=launch/command.sh
. launch/command.sh

actions="up watch create wait copy setup start status logs stop delete"
takes="name zone project accelerator runtime config nfs worker interval_s"
switches=spot
name=
zone=
project=
accelerator=
runtime=
spot=false
nfs=
worker=0
interval_s=30
share=/mnt/stepcoder

read_options "$@"
check_action
check name '[a-z]([-a-z0-9]{0,60}[a-z0-9])?' "small letters, digits and dashes, at most 62"
check zone '[a-z]+-[a-z]+[0-9]+-[a-z]' "a zone, such as us-central2-b"
check worker '[0-9]{1,4}' "the number of a host"
check interval_s '[1-9][0-9]{0,3}' "1 to 9999 seconds"
[ -z "$project" ] || check project '[a-z][-a-z0-9.:]*[a-z0-9]' "the id of a project"
[ -z "$nfs" ] || check nfs '[A-Za-z0-9.-]+:/[A-Za-z0-9._/-]*' "HOST:/SHARE"

case $action in
up | watch | create)
    check accelerator '(v[234]|v5litepod|v5p|v6e)-[1-9][0-9]{0,4}' "v4-N, v5litepod-N, v5p-N, v6e-N ..."
    case $accelerator in
    v5litepod-*) made_for=v2-alpha-tpuv5-lite ;;
    v5p-*) made_for=v2-alpha-tpuv5 ;;
    v6e-*) made_for=v2-alpha-tpuv6e ;;
    *) made_for=tpu-ubuntu2204-base ;;
    esac
    runtime=${runtime:-$made_for}
    check runtime '[a-z0-9][-a-z0-9.]*' "a TPU software version"
    if [ -z "$nfs" ]; then
        [ "$spot" = false ] || refuse "--spot without --nfs: a preemption would take the run with it"
        [ "${accelerator##*-}" -le 8 ] ||
            refuse "--accelerator is '$accelerator', several hosts: they share the run with --nfs"
    fi
    ;;
esac
case $action in
up | watch | start)
    check_config
    [ -z "$nfs" ] || overrides="--run_dir $share/runs/$name $overrides"
    ;;
esac

tpus() {
    group=$1
    verb=$2
    shift 2
    run gcloud compute tpus "$group" "$verb" "$@" --zone "$zone" ${project:+--project "$project"}
}

on_hosts() {
    tpus tpu-vm ssh "$name" --worker "$1" --command "$2"
}

# Sets $state; empty where there is no such resource. $1: what --dry-run takes it to be.
look() {
    set -- "$1" queued-resources list --filter "name~(^|/)$name\$" --format "value(state.state)"
    assumed=$1
    shift
    if [ "$dry_run" = true ]; then
        tpus "$@"
        state=$assumed
    else
        state=$(tpus "$@") || fail "gcloud does not tell the state of $name"
    fi
}

create() {
    set -- "$name" --node-id "$name" --accelerator-type "$accelerator" --runtime-version "$runtime"
    [ "$spot" = false ] || set -- "$@" --spot
    tpus queued-resources create "$@"
}

delete() {
    tpus queued-resources delete "$name" --force --quiet
}

pause() {
    say "$1; looking again in $interval_s s"
    sleep "$interval_s"
}

wait_until_active() {
    while look ACTIVE; do
        case $state in
        ACTIVE) return 0 ;;
        '' | FAILED | SUSPEND* | DELETING) fail "$name is '$state' and will not become ACTIVE by itself" ;;
        esac
        pause "$name is $state"
    done
}

# Only what is committed: the hosts then have what a commit names.
copy() {
    run mkdir -p .cache
    run git archive --format tar.gz --output .cache/stepcoder-jax.tar.gz HEAD
    tpus tpu-vm scp .cache/stepcoder-jax.tar.gz "$name:stepcoder-jax.tar.gz" --worker all
    on_hosts all "mkdir -p stepcoder-jax && tar -xzf stepcoder-jax.tar.gz -C stepcoder-jax"
}

setup() {
    [ -z "$nfs" ] || on_hosts all "$(mount_share)"
    on_hosts all "cd stepcoder-jax && sh launch/setup.sh &&\
 .venv/bin/python -m pip install --quiet --no-build-isolation --editable '.[tpu]'"
}

mount_share() {
    printf '%s' "sudo apt-get install --yes --quiet nfs-common && sudo mkdir -p $share &&" \
        " { mountpoint -q $share || sudo mount -t nfs $nfs $share; } &&" \
        " sudo mkdir -p $share/runs && sudo chmod 1777 $share/runs"
}

# A unit of systemd's: it outlives the connection, keeps the log and the exit status, and at a preemption
# the trainer alone gets SIGTERM, not the executor under it. One that runs already is left alone.
start() {
    on_hosts all "test \"\$(systemctl show stepcoder --property SubState --value)\" = running ||\
 { sudo systemctl stop stepcoder; sudo systemctl reset-failed stepcoder;\
 sudo systemd-run --quiet --unit stepcoder --remain-after-exit --uid \"\$(id -u)\"\
 --working-directory \"\$HOME/stepcoder-jax\" --property KillMode=mixed --property TimeoutStopSec=600\
 \"\$HOME\"/stepcoder-jax/$(trainer_doubling_dollars --distributed.auto true); } 2>&1"
}

up() {
    look ''
    case $state in
    '') create ;;
    SUSPENDED | FAILED)
        delete
        create
        ;;
    SUSPENDING | DELETING)
        pause "$name is $state"
        up
        return
        ;;
    esac
    wait_until_active
    copy
    setup
    start
}

# A trainer that failed on a slice that is gone was preempted: looked at twice, as the state comes late.
watch() {
    up
    failures=0
    while look ACTIVE && [ "$failures" -lt 2 ]; do
        if [ "$state" != ACTIVE ]; then
            say "$name is '$state': starting over from the last checkpoint"
            up
            failures=0
            continue
        fi
        on="$(on_hosts 0 'systemctl show stepcoder --property SubState --value')" || on=unreachable
        if [ "$dry_run" = true ]; then
            echo "$on"
            return 0
        fi
        case $on in
        exited)
            say "the run has ended"
            return 0
            ;;
        failed | dead) failures=$((failures + 1)) ;;
        *) failures=0 ;;
        esac
        pause "the trainer is $on"
    done
    fail "the trainer has failed: launch/tpu_vm.sh logs --name $name --zone $zone"
}

case $action in
up) up ;;
watch) watch ;;
create) create ;;
wait) wait_until_active ;;
copy) copy ;;
setup) setup ;;
start) start ;;
status)
    look ACTIVE
    [ "$dry_run" = true ] || echo "${state:-there is no $name}"
    [ "$state" != ACTIVE ] || on_hosts all 'systemctl show stepcoder --property SubState,ExecMainStatus'
    ;;
logs) on_hosts "$worker" 'sudo journalctl --unit stepcoder --follow --lines 100' ;;
stop) on_hosts all 'sudo systemctl stop stepcoder' ;;
delete) delete ;;
esac
