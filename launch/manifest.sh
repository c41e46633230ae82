#!/bin/sh
# Sourced after command.sh by the scripts that hand a filled-in file to another program.

# fill FILE NAME=VALUE ...: prints FILE with VALUE in place of ${NAME}, without the comment at its head. Lines
# that end in "# where --spot is given" stay only if it is.
fill() {
    _file=$1
    shift
    _edits='/^#/d; s/ # where --spot is given$//'
    [ "${spot:-false}" = true ] || _edits='/^#/d; / # where --spot is given$/d'
    for _setting in "$@"; do
        _value=$(printf '%s' "${_setting#*=}" | sed 's/[&|\\]/\\&/g')
        _edits="$_edits; s|\${${_setting%%=*}}|$_value|"
    done
    sed "$_edits" "$_file"
}

# write FILE COMMAND: what COMMAND prints goes to FILE, with --dry-run as a shell would do it, so that all of
# it is seen.
write() {
    run mkdir -p "${1%/*}"
    if [ "${dry_run:-}" = true ]; then
        echo "cat >$1 <<'END'"
        "$2"
        echo END
    else
        "$2" >"$1"
    fi
}
