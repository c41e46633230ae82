#!/bin/sh
# A Ray cluster of CPU machines that runs the programs, for when the trainers' own hosts have too few CPUs.
#
#   launch/ray_executor.sh ACTION [options]
#
# Actions:
#   up       make the machines, and print the head's address
#   show     print the cluster's file
#   status   who is there, and which CPUs are free
#   down     give the machines back
#   join     on each trainer's machine: become part of the cluster, lending it no CPU
#   leave    on each trainer's machine
#
# The trainer then gets `--executor.backend ray`. Where several trainers share the cluster each also needs
# `--executor.slots`, CPUs of a machine by trainers: the first would take them all.
#
# Options:
#   --name N       of the cluster (stepcoder-executor)
#   --project P    for up, show, status, down: the Google Cloud project
#   --zone Z       for these, too: best the trainers' own
#   --nodes N      machines that run programs (4)
#   --machine M    their kind, which ends in its number of CPUs (n2-standard-32)
#   --spot         they can be preempted; what they ran is run again elsewhere
#   --python V     the trainer's Python (3.13)
#   --head HOST    for join: the head's address
#   --dry-run      print the commands and run none
#
# For machines that are there already two lines do: executor/README.md.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=launch/command.sh
. launch/command.sh
# shellcheck source=launch/manifest.sh
. launch/manifest.sh

actions="up show status down join leave"
takes="name project zone nodes machine python head"
switches=spot
name=stepcoder-executor
project=
zone=
nodes=4
machine=n2-standard-32
python=3.13
head=
spot=false

read_options "$@"
check_action
[ -z "$overrides" ] || refuse "-- '$overrides': there is no trainer here that takes fields"
ray=.venv/bin/ray
ray_version=$(sed -n 's/^ray==\([0-9.]*\) .*/\1/p' launch/requirements.lock)

check name '[a-z]([-a-z0-9]{0,38}[a-z0-9])?' "small letters, digits and dashes, at most 40"
case $action in
up | show | status | down)
    check project '[a-z][-a-z0-9.:]*[a-z0-9]' "the id of a project"
    check zone '[a-z]+-[a-z]+[0-9]+-[a-z]' "a zone, such as us-central2-b"
    check nodes '[1-9][0-9]{0,2}' "1 to 999"
    check machine '[a-z][a-z0-9]*-[a-z]+-[1-9][0-9]{0,2}' "a kind of machine, such as n2-standard-32"
    check python '3\.1[2-4](\.[0-9]+)?' "3.12 to 3.14"
    ;;
join) check head '[A-Za-z0-9.-]+' "the address of the head, without a port" ;;
esac
file=.cache/$name.yaml

cluster() {
    fill launch/ray_executor.yaml "NAME=$name" "PROJECT=$project" "REGION=${zone%-*}" "ZONE=$zone" \
        "NODES=$nodes" "MACHINE=$machine" "CPUS=${machine##*-}" "PYTHON=$python" "RAY=$ray_version"
}

# Ray's own launcher is not in the lock: nothing else needs it.
prepare() {
    write "$file" cluster
    run .venv/bin/python -m pip install --quiet "ray[default]==$ray_version" \
        google-api-python-client cryptography
}

case $action in
show) cluster ;;
up)
    prepare
    run "$ray" up "$file" --yes
    run "$ray" get-head-ip "$file"
    ;;
status)
    prepare
    run "$ray" exec "$file" 'ray/bin/ray status'
    ;;
down)
    prepare
    run "$ray" down "$file" --yes
    ;;
join) run "$ray" start --address "$head:6379" --num-cpus 0 ;;
leave) run "$ray" stop ;;
esac
