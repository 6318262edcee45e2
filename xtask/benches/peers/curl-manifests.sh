#!/bin/sh
# The least that asking a registry about so many references can cost: one program that asks side by side.
# Usage: curl-manifests.sh CONFIG
set -eu
exec curl --silent --fail --parallel --parallel-max 32 --config "$1"
