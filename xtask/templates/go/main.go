// {{name}}: see usage for what it does.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
)

const usage = `usage: {{name}} [--help]

Writes one JSON line to stdout for each step of its work.

environment:
  STEPS  how many steps, 1 to 999 (default 3)

exit status: 0 done, 1 failed, 2 bad arguments or environment`

type line struct {
	Job  string `json:"job"`
	Arch string `json:"arch"`
	Step int    `json:"step"`
}

func fail(status int, what string) {
	fmt.Fprintln(os.Stderr, "{{name}}: "+what)
	os.Exit(status)
}

func main() {
	arguments := os.Args[1:]
	if len(arguments) == 1 && arguments[0] == "--help" {
		fmt.Println(usage)
		return
	}
	if len(arguments) > 0 {
		fail(2, "unexpected arguments: see --help")
	}
	steps := os.Getenv("STEPS")
	if steps == "" {
		steps = "3"
	}
	if !regexp.MustCompile(`^[1-9][0-9]{0,2}$`).MatchString(steps) {
		fail(2, "STEPS: not a whole number from 1 to 999")
	}
	last, _ := strconv.Atoi(steps)
	lines := json.NewEncoder(os.Stdout)
	for step := 1; step <= last; step++ {
		if err := lines.Encode(line{"{{name}}", runtime.GOARCH, step}); err != nil {
			fail(1, err.Error())
		}
	}
}
