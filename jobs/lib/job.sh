# shellcheck shell=sh
# What the jobs written in shell share: JSON log lines, errors, and checks of the environment.
# A script sets JOB (its name) and defines usage(), then reads this file.

# json_escape TEXT: TEXT as the inside of a JSON string, in plain ASCII.
# A file name may hold any bytes, so what is not valid UTF-8 becomes U+FFFD instead of a broken line.
json_escape() {
    case $1 in
        *[!A-Za-z0-9\ ._/:=+,@%-]*) ;;
        *) printf '%s' "$1"; return ;; # the common case, without a process
    esac
    printf '%s' "$1" | od -An -v -tu1 | awk '
        function emit(c) {
            if ((c >= 55296 && c < 57344) || c > 1114111) c = 65533
            if (c > 65535) printf "\\u%04x\\u%04x", 55232 + int(c / 1024), 56320 + c % 1024
            else if (c < 32 || c > 126 || c == 34 || c == 92) printf "\\u%04x", c
            else printf "%c", c
        }
        {
            for (i = 1; i <= NF; i++) {
                b = $i + 0
                if (left > 0 && b >= 128 && b < 192) {
                    code = code * 64 + b - 128
                    if (--left == 0) emit(code)
                    continue
                }
                if (left > 0) emit(65533)
                left = 0
                if (b < 128) emit(b)
                else if (b >= 194 && b < 224) { code = b - 192; left = 1 }
                else if (b >= 224 && b < 240) { code = b - 224; left = 2 }
                else if (b >= 240 && b < 245) { code = b - 240; left = 3 }
                else emit(65533)
            }
        }
        END { if (left > 0) emit(65533) }'
}

# log EVENT [KEY=TEXT | KEY:=JSON]...: one JSON line on stdout.
# It is written by one printf, so that lines of several processes do not mix.
log() {
    line="\"time\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"job\":\"$JOB\",\"event\":\"$1\""
    shift
    for pair in "$@"; do
        key=${pair%%=*}
        case $key in
            *:) line="$line,\"${key%:}\":${pair#*=}" ;;
            *) line="$line,\"$key\":\"$(json_escape "${pair#*=}")\"" ;;
        esac
    done
    printf '{%s}\n' "$line"
}

# die STATUS MESSAGE: one line on stderr, and the end.
die() {
    printf '%s: %s\n' "$JOB" "$2" >&2
    exit "$1"
}

# bad_argument ARGUMENT: the end for an argument that the job does not know.
bad_argument() { die 2 "unknown argument \"$(json_escape "$1")\" (try --help)"; }

# only_help "$@": for a job that takes no argument but --help.
only_help() {
    if [ $# -eq 0 ]; then return; fi
    if [ "$1" != --help ]; then bad_argument "$1"; fi
    usage
    exit 0
}

# The checks below take the NAME of an environment variable and leave its value in $value.

need() {
    eval "value=\${$1-}"
    if [ -z "$value" ]; then die 2 "$1 is not set (try --help)"; fi
}

# need_number NAME MIN MAX: a whole number.
# A leading 0 is refused because the shell would read it as octal, a long one because it would overflow.
need_number() {
    need "$1"
    case $value in
        *[!0-9]* | 0?* | ??????????*) ;;
        *) if [ "$value" -ge "$2" ] && [ "$value" -le "$3" ]; then return; fi ;;
    esac
    die 2 "$1 must be a whole number from $2 to $3, not \"$(json_escape "$value")\""
}

# need_flag NAME: true or false and nothing else, so that no spelling of "yes" is taken for a no.
need_flag() {
    need "$1"
    case $value in
        true | false) ;;
        *) die 2 "$1 must be true or false, not \"$(json_escape "$value")\"" ;;
    esac
}

# need_dir NAME: an absolute path, since a relative one could be taken for an option.
need_dir() {
    need "$1"
    case $value in
        /*) if [ -d "$value" ]; then return; fi ;;
    esac
    die 2 "$1 must be the absolute path of a directory, not \"$(json_escape "$value")\""
}

# interruptible COMMAND...: runs COMMAND so that SIGTERM ends the script at once (status 143).
# The kernel spares PID 1 the signals that it does not handle, and a shell handles a signal only
# between two commands or in "wait", so the work is done in the background.
interruptible() {
    child=''
    trap 'kill "$child" 2>/dev/null || true; exit 143' TERM INT
    "$@" &
    child=$!
    wait "$child"
}
