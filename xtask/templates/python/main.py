"""{{name}}: see USAGE for what it does."""

import json
import os
import platform
import re
import signal
import sys

USAGE = """\
usage: {{name}} [--help]

Writes one JSON line to stdout for each step of its work.

environment:
  STEPS  how many steps, 1 to 999 (default 3)

exit status: 0 done, 1 failed, 2 bad arguments or environment"""


def fail(what):
    print(f"{{name}}: {what}", file=sys.stderr)
    sys.exit(2)


def main(arguments):
    if arguments == ["--help"]:
        print(USAGE)
        return
    if arguments:
        fail("unexpected arguments: see --help")
    steps = os.environ.get("STEPS") or "3"
    if not re.fullmatch("[1-9][0-9]{0,2}", steps):
        fail("STEPS: not a whole number from 1 to 999")
    # PID 1 gets no signal that it has no handler for.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for step in range(1, int(steps) + 1):
        print(json.dumps({"job": "{{name}}", "arch": platform.machine(), "step": step}))


main(sys.argv[1:])
