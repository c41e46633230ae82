#!/bin/sh
# Sourced by the scripts beside it: options are read and checked, and every command is either run or, with
# --dry-run, printed as a shell would take it. Without --dry-run it is printed too, on standard error.
#
# The script that sources it then says what it takes:
#   takes="zone config"   options with a value: --zone X sets $zone
#   switches="spot"       options without one: --spot sets spot=true
#   actions="up down"     words, of which one is given; it is $action
# Fields of the recipe stand behind --; they go to the trainer. Variables of the functions here begin with _,
# because sh has no local ones.
script=${0##*/}
takes=
switches=
actions=
action=
config=
overrides=
dry_run=false

say() { echo "$script: $*" >&2; }

# Bad usage: one line that names what is wrong, its value and what is allowed.
refuse() {
    say "$*"
    exit 2
}

fail() {
    say "$*"
    exit 1
}

# Prints its arguments as one line that a shell reads as the same arguments.
quoted() {
    _separator=
    for _word in "$@"; do
        case $_word in
        '' | *[!A-Za-z0-9_./:=,@%+-]*)
            _word=$(printf '%s\n' "$_word" | sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/") ;;
        esac
        printf '%s%s' "$_separator" "$_word"
        _separator=' '
    done
}

# Runs a command, or prints it.
run() {
    if [ "$dry_run" = true ]; then
        quoted "$@"
        echo
        return 0
    fi
    say "$(quoted "$@")"
    "$@"
}

# The same in place of this shell, so that a signal reaches the command itself.
run_last() {
    if [ "$dry_run" = true ]; then
        run "$@"
        exit 0
    fi
    say "$(quoted "$@")"
    exec "$@"
}

# .venv with an extra of this package. pip keeps the locked jax and adds what belongs to it.
set_up() {
    run sh launch/setup.sh
    run .venv/bin/python -m pip install --quiet --no-build-isolation --editable ".[$1]"
}

# The command line of the trainer as a shell reads it, the fields behind -- at its end. Several processes
# find each other by what Slurm, GKE and TPU VMs tell them (jax.distributed).
trainer() {
    quoted .venv/bin/stepcoder train --config "$config" "$@"
    printf '%s' "${overrides:+ $overrides}"
}

# The same for what reads a dollar sign as the beginning of a variable of its own, and two as one: systemd, and
# the args of a container. Words that have one are in single quotes.
trainer_doubling_dollars() { trainer "$@" | sed 's/\$/$$/g'; }

# The comment at the head of the script, without its first line.
help() { sed -n '2,${/^#SBATCH/q;/^[^#]/q;s/^# \{0,1\}//p;}' "$0"; }

# Reads the command line; what begins with no dash is the action, if the script has $actions.
read_options() {
    while [ $# -gt 0 ]; do
        _option=$1
        shift
        case $_option in
        -h | --help)
            help
            exit 0
            ;;
        --)
            overrides=$(quoted "$@")
            return 0
            ;;
        --*=*)
            refuse "$_option: write the value apart, ${_option%%=*} ${_option#*=}"
            ;;
        --*[!a-z-]*) refuse "$_option is not an option; allowed:$(option_list)" ;;
        --*)
            _name=$(printf '%s' "${_option#--}" | tr - _)
            case " $takes " in
            *" $_name "*)
                [ $# -gt 0 ] || refuse "$_option has no value"
                eval "$_name=\$1"
                shift
                continue
                ;;
            esac
            case " dry_run $switches " in
            *" $_name "*) eval "$_name=true" ;;
            *) refuse "$_option is not an option; allowed:$(option_list); the trainer's go behind --" ;;
            esac
            ;;
        *)
            [ -z "$action" ] || refuse "'$_option': there is an action already, $action"
            action=$_option
            ;;
        esac
    done
}

option_list() {
    for _name in $takes dry_run $switches; do
        printf ' --%s' "$(printf '%s' "$_name" | tr _ -)"
    done
}

# check NAME PATTERN MEANING: the whole value of $NAME fits the extended regular expression.
check() {
    eval "_value=\$$1"
    _option=--$(printf '%s' "$1" | tr _ -)
    [ -n "$_value" ] || refuse "$_option is missing: $3"
    printf '%s' "$_value" | grep -Exq -e "$2" && [ "$(printf '%s' "$_value" | wc -l)" -eq 0 ] ||
        refuse "$_option is '$_value'; allowed: $3"
}

# A recipe is looked for where the script runs; where it will run it has the same path in the checkout.
check_config() {
    [ -n "$config" ] || refuse "--config is missing: a recipe, such as configs/quickstart.yaml"
    [ -f "$config" ] || refuse "--config is '$config': there is no such file in $(pwd)"
}

check_action() {
    case " $actions " in
    *" $action "*) [ -z "$action" ] || return 0 ;;
    esac
    refuse "the action is '$action'; allowed: $actions"
}
