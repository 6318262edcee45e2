#!/bin/sh
# The recipe that people copy: one index after the other, made of whatever the architectures' tags point to.
# Usage: recipe-merge.sh REPOSITORY TAG NEW-TAG JOB…
set -eu
repository=$1 tag=$2 new=$3
shift 3
for job; do
  docker buildx imagetools create --tag "$repository/$job:$new" \
    "$repository/$job:$tag-amd64" "$repository/$job:$tag-arm64"
done
