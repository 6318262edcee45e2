#!/bin/sh
# job-a: a heartbeat. See usage() for what it does.
set -eu
JOB=job-a
# shellcheck source-path=SCRIPTDIR source=../lib/job.sh
. "${0%/*}/../lib/job.sh"

usage() {
    cat <<'END'
usage: job-a [--help]

Writes one JSON line to stdout at each interval.
SIGTERM ends it with a last line and status 0, also in the middle of an interval.

environment:
  HEARTBEAT_INTERVAL  seconds between two lines, 1 to 86400 (default 60)
  HEARTBEAT_COUNT     lines to write, 0 for no end (default 0)

exit status: 0 stopped or all lines written, 2 bad arguments or environment
END
}

# Whole seconds since the host booted: unlike the time of day, nobody sets this clock.
seconds() {
    read -r now _ </proc/uptime
    now=${now%.*}
}

# finish REASON: the trap calls this itself instead of setting a flag for the loop to see,
# because a signal that came just before "wait" would then wait for the whole interval.
finish() {
    trap '' TERM INT
    seconds
    log stopped reason="$1" host="$host" beats:="$beats" uptime_seconds:=$((now - start))
    if [ -n "$sleeper" ]; then kill "$sleeper" 2>/dev/null || true; fi
    exit 0
}

only_help "$@"
: "${HEARTBEAT_INTERVAL:=60}" "${HEARTBEAT_COUNT:=0}"
need_number HEARTBEAT_INTERVAL 1 86400
need_number HEARTBEAT_COUNT 0 999999999

beats=0
sleeper=''
host=$(hostname)
arch=$(uname -m)
seconds
start=$now
# PID 1 gets no signal that it has no handler for.
trap 'finish signal' TERM INT

while :; do
    seconds
    beats=$((beats + 1))
    log beat host="$host" arch="$arch" seq:="$beats" uptime_seconds:=$((now - start)) \
        interval_seconds:="$HEARTBEAT_INTERVAL"
    if [ "$beats" -eq "$HEARTBEAT_COUNT" ]; then finish count; fi
    # A trap runs during "wait" but not during a command in the foreground.
    sleep "$HEARTBEAT_INTERVAL" &
    sleeper=$!
    wait "$sleeper"
done
