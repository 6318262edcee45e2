#!/bin/sh
# {{name}}: see usage() for what it does.
set -eu

usage() {
    cat <<'END'
usage: {{name}} [--help]

Writes one JSON line to stdout for each step of its work.

environment:
  STEPS  how many steps, 1 to 999 (default 3)

exit status: 0 done, 1 failed, 2 bad arguments or environment
END
}

fail() {
    echo "{{name}}: $1" >&2
    exit 2
}

case "$#:${1-}" in
    0:) ;;
    1:--help) usage && exit ;;
    *) fail 'unexpected arguments: see --help' ;;
esac
case ${STEPS:=3} in
    [1-9] | [1-9][0-9] | [1-9][0-9][0-9]) ;;
    *) fail 'STEPS: not a whole number from 1 to 999' ;;
esac
# PID 1 gets no signal that it has no handler for.
trap 'exit 143' TERM

step=0
while [ "$step" -lt "$STEPS" ]; do
    step=$((step + 1))
    printf '{"job":"{{name}}","arch":"%s","step":%d}\n' "$(uname -m)" "$step"
done
