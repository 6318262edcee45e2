#!/bin/sh
# The recipe that people copy: the folders with a Dockerfile, as a JSON list for the matrix of a workflow.
set -eu
find jobs -mindepth 1 -maxdepth 1 -type d -exec test -f '{}/Dockerfile' \; -print |
  sort | jq -R -s -c 'split("\n")[:-1]'
