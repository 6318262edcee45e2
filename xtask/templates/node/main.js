// {{name}}: see USAGE for what it does.

import os from "node:os";

const USAGE = `usage: {{name}} [--help]

Writes one JSON line to stdout for each step of its work.

environment:
  STEPS  how many steps, 1 to 999 (default 3)

exit status: 0 done, 1 failed, 2 bad arguments or environment`;

function fail(what) {
  console.error(`{{name}}: ${what}`);
  process.exit(2);
}

function main(args) {
  if (args.length === 1 && args[0] === "--help") {
    console.log(USAGE);
    return;
  }
  if (args.length > 0) {
    fail("unexpected arguments: see --help");
  }
  const steps = process.env.STEPS || "3";
  if (!/^[1-9][0-9]{0,2}$/.test(steps)) {
    fail("STEPS: not a whole number from 1 to 999");
  }
  // PID 1 gets no signal that it has no handler for.
  process.on("SIGTERM", () => process.exit(143));
  for (let step = 1; step <= Number(steps); step += 1) {
    console.log(JSON.stringify({ job: "{{name}}", arch: os.machine(), step }));
  }
}

main(process.argv.slice(2));
