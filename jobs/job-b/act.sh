#!/bin/sh
# act.sh delete|compress FILE...: the part of job-b that changes files; janitor.sh's find calls it.
# Writes one word for each file to stdout and a log line to descriptor 3.
set -u
# shellcheck disable=SC2034 # job.sh reads it
JOB=job-b
# shellcheck source-path=SCRIPTDIR source=../lib/job.sh
. "${0%/*}/../lib/job.sh"

# compress FILE: the result takes its name only when it is complete, so a killed run leaves the
# original and a *.job-b-part, which the next run replaces.
compress() {
    part=$1.gz.job-b-part
    # -C refuses to write to what somebody put there, a link for example.
    if ! {
        rm -f "$part" &&
            (umask 077 && set -C && gzip -c <"$1" >"$part") &&
            touch -r "$1" "$part" && # the age goes on counting for DELETE_AFTER_DAYS
            chmod "$(stat -c %a "$1")" "$part" &&
            mv "$part" "$1.gz"
    }; then
        rm -f "$part"
        return 1
    fi
    # In a directory with the sticky bit another user's file stays: then it stays without a copy.
    if ! rm -f "$1"; then
        rm -f "$1.gz"
        return 1
    fi
}

# result WORD FILE [REASON]
result() {
    log "$1" file="$2" dry_run:="$DRY_RUN" ${3:+"reason=$3"} >&3
    echo "$1"
}

action=$1
shift
for file in "$@"; do
    # find saw a regular file, but that was a moment ago.
    if [ -L "$file" ] || [ ! -f "$file" ]; then
        result skipped "$file" 'no longer a regular file'
    elif [ "$action" = delete ]; then
        if [ "$DRY_RUN" = true ] || rm -f "$file"; then
            result deleted "$file"
        else
            result failed "$file" 'cannot delete'
        fi
    elif [ -e "$file.gz" ] || [ -L "$file.gz" ]; then
        result skipped "$file" 'the .gz exists'
    elif [ "$DRY_RUN" = true ] || compress "$file"; then
        result compressed "$file"
    else
        result failed "$file" 'cannot compress'
    fi
done
