#!/bin/sh
# One build whose steps all run, and whose result is thrown away.
# Usage: build-uncached.sh JOB ARCH
set -eu
docker buildx build --no-cache --platform "linux/$2" --file "jobs/$1/Dockerfile" --provenance false \
  --output type=cacheonly --progress plain .
