#!/bin/sh
# job-c: a checksum audit. See usage() for what it does.
set -eu
JOB=job-c
# shellcheck source-path=SCRIPTDIR source=../lib/job.sh
. "${0%/*}/../lib/job.sh"

usage() {
    cat <<'END'
usage: job-c write|check|--help

write  writes the SHA-256 sums of the regular files under AUDIT_DIR to AUDIT_MANIFEST
check  compares the files with the manifest: a JSON line for each changed, missing or new file
Links are not followed. The manifest is sorted, and "sha256sum -c" in AUDIT_DIR reads it too.

environment:
  AUDIT_DIR       absolute path of the directory (required)
  AUDIT_MANIFEST  absolute path of the manifest, outside AUDIT_DIR (required)

exit status: 0 written or equal, 1 drift, 2 bad arguments or environment, or not all could be read
END
}

newline='
'

# lines TEXT: TEXT as lines, none if it is empty.
lines() { if [ -n "$1" ]; then printf '%s\n' "$1"; fi; }

# scan: leaves the manifest of AUDIT_DIR in $now, not in a file: the container may be read-only.
scan() {
    cd "$AUDIT_DIR"
    if [ -n "$(find . -name "*$newline*")" ]; then
        die 2 "a file name holds a newline, which a line of the manifest cannot"
    fi
    # A pipe has the status of its last command, so when find fails it hands over a directory, which
    # has no sum: what cannot be read must not pass for missing.
    now=$({ find . -type f -print0 || printf '/\0'; } | xargs -0 -r sha256sum) ||
        die 2 "cannot read all of AUDIT_DIR"
    now=$(lines "$now" | LC_ALL=C sort -k 2)
    files=$(lines "$now" | wc -l)
}

# write: the manifest appears under its name only when it is complete.
write() {
    scan
    { lines "$now" >"$AUDIT_MANIFEST.part" && mv -f "$AUDIT_MANIFEST.part" "$AUDIT_MANIFEST"; } ||
        die 2 "cannot write AUDIT_MANIFEST"
    log written dir="$AUDIT_DIR" manifest="$AUDIT_MANIFEST" files:="$files"
}

check() {
    if [ ! -r "$AUDIT_MANIFEST" ]; then die 2 "cannot read AUDIT_MANIFEST"; fi
    if grep -qvE '^[0-9a-f]{64}  \./' "$AUDIT_MANIFEST"; then die 2 "AUDIT_MANIFEST is not a manifest"; fi
    scan
    # A sum has 64 characters, two blanks follow, and the rest is the name, whatever it holds.
    drift=$(lines "$now" | awk '
        { sum = substr($0, 1, 64); name = substr($0, 67) }
        FILENAME == ARGV[1] { old[name] = sum; next }
        !(name in old) { print "new " name; next }
        old[name] != sum { print "changed " name }
        { delete old[name] }
        END { for (name in old) print "missing " name }
    ' "$AUDIT_MANIFEST" - | LC_ALL=C sort -k 2)
    lines "$drift" | while IFS= read -r line; do
        log drift kind="${line%% *}" file="${line#* }"
    done
    log checked dir="$AUDIT_DIR" manifest="$AUDIT_MANIFEST" files:="$files" \
        drift:="$(lines "$drift" | wc -l)"
    [ -z "$drift" ]
}

case ${1-} in
    --help) only_help "$@" ;;
    write | check) if [ $# -gt 1 ]; then bad_argument "$2"; fi ;;
    '') die 2 "say write or check (try --help)" ;;
    *) bad_argument "$1" ;;
esac
need_dir AUDIT_DIR
need AUDIT_MANIFEST
AUDIT_DIR=$(cd "$AUDIT_DIR" 2>/dev/null && pwd -P) || die 2 "cannot enter AUDIT_DIR"
case $AUDIT_MANIFEST in
    /*) ;;
    *) die 2 "AUDIT_MANIFEST must be an absolute path" ;;
esac
if [ -d "$AUDIT_MANIFEST" ]; then die 2 "AUDIT_MANIFEST must be a file, not a directory"; fi
home=$(cd "${AUDIT_MANIFEST%/*}/" 2>/dev/null && pwd -P) || die 2 "the directory of AUDIT_MANIFEST does not exist"
case $home/ in
    "${AUDIT_DIR%/}"/*) die 2 "AUDIT_MANIFEST must be outside AUDIT_DIR, or it would be audited itself" ;;
esac

interruptible "$1"
