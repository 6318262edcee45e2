#!/bin/sh
# job-b: a log janitor. See usage() for what it does.
set -eu
JOB=job-b
# shellcheck source-path=SCRIPTDIR source=../lib/job.sh
. "${0%/*}/../lib/job.sh"

usage() {
    cat <<'END'
usage: job-b [--help]

Compresses old files under LOG_DIR with gzip and deletes older ones.
A compressed file keeps the time and the mode of the original.
Works on regular files only and follows no links.
Writes a JSON line for each file and a summary at the end.

environment:
  LOG_DIR              absolute path of the directory, not a link and not / (required)
  COMPRESS_AFTER_DAYS  compress files older than this, 1 to 36500 (default 7)
  DELETE_AFTER_DAYS    delete files older than this, more than the above (default 30)
  DRY_RUN              true: only say what would be done (default false)

exit status: 0 done, 1 something failed, 2 bad arguments or environment
END
}

only_help "$@"
# At least a day: a process may still have a younger file open, and would write to the deleted one.
: "${COMPRESS_AFTER_DAYS:=7}" "${DELETE_AFTER_DAYS:=30}" "${DRY_RUN:=false}"
need_number COMPRESS_AFTER_DAYS 1 36500
need_number DELETE_AFTER_DAYS 1 36500
need_flag DRY_RUN
need_dir LOG_DIR
if [ "$COMPRESS_AFTER_DAYS" -ge "$DELETE_AFTER_DAYS" ]; then
    die 2 "COMPRESS_AFTER_DAYS must be less than DELETE_AFTER_DAYS"
fi
# "link/" would be the directory behind the link, so the slashes at the end go first.
while [ "$LOG_DIR" != "${LOG_DIR%/}" ]; do LOG_DIR=${LOG_DIR%/}; done
if [ -L "$LOG_DIR" ]; then die 2 "LOG_DIR must not be a link"; fi
real=$(cd "$LOG_DIR/" 2>/dev/null && pwd -P) || die 2 "cannot enter LOG_DIR"
if [ "$real" = / ]; then die 2 "LOG_DIR must not be /"; fi # which /. and /logs/.. are too

# act ACTION TEST...: hands the regular files that pass the tests to act.sh as arguments, so that no
# name is ever taken apart. In minutes, because -mtime counts whole days only.
act() {
    action=$1
    shift
    find "$LOG_DIR" -type f "$@" -exec "${0%/*}/act.sh" "$action" {} +
}

# A file is compressed or deleted but not both, which also keeps a dry run honest.
work() {
    compress=+$((COMPRESS_AFTER_DAYS * 1440))
    delete=+$((DELETE_AFTER_DAYS * 1440))
    listed=true
    act delete -mmin "$delete" || listed=false
    act compress -mmin "$compress" ! -mmin "$delete" \
        ! -name '*.gz' ! -name '*.tgz' ! -name '*.bz2' ! -name '*.xz' ! -name '*.zst' ! -name '*.zip' \
        ! -name '*.job-b-part' || listed=false
    # Both meet the same directory that they cannot read: one failure.
    if [ "$listed" = false ]; then echo failed; fi
}

# Counts the words that act.sh writes to stdout; its log lines come through descriptor 3.
summary() {
    compressed=0 deleted=0 skipped=0 failed=0
    while read -r result; do
        case $result in
            compressed) compressed=$((compressed + 1)) ;;
            deleted) deleted=$((deleted + 1)) ;;
            skipped) skipped=$((skipped + 1)) ;;
            *) failed=$((failed + 1)) ;;
        esac
    done
    log summary dir="$LOG_DIR" dry_run:="$DRY_RUN" compressed:="$compressed" deleted:="$deleted" \
        skipped:="$skipped" failed:="$failed"
    [ "$failed" -eq 0 ]
}

export DRY_RUN
janitor() { work | summary; }
exec 3>&1
interruptible janitor
