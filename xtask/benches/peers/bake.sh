#!/bin/sh
# The fastest way to build many images with one engine: all of them in one request.
# Usage: bake.sh REPOSITORY TAG ARCH JOB…
set -eu
repository=$1 tag=$2 arch=$3
shift 3
jq --null-input --arg repository "$repository" --arg tag "$tag" --arg arch "$arch" '
  {
    group: {default: {targets: $ARGS.positional}},
    target: ($ARGS.positional | map({key: ., value: {
      context: ".",
      dockerfile: "jobs/\(.)/Dockerfile",
      platforms: ["linux/\($arch)"],
      tags: ["\($repository)/\(.):\($tag)-\($arch)"],
      output: ["type=image,oci-mediatypes=true,store=false,push=true"]
    }}) | from_entries)
  }' --args -- "$@" |
  docker buildx bake --file - --provenance mode=min --progress plain
