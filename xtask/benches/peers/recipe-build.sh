#!/bin/sh
# The recipe that people copy: one build after the other, each pushed under the tag of its architecture.
# The output is the one that this tool asks for: nothing is kept in the engine that is in the registry.
# Usage: recipe-build.sh REPOSITORY TAG ARCH JOB…
set -eu
repository=$1 tag=$2 arch=$3
shift 3
for job; do
  docker buildx build --platform "linux/$arch" --tag "$repository/$job:$tag-$arch" --file "jobs/$job/Dockerfile" \
    --provenance mode=min --output type=image,oci-mediatypes=true,store=false --push --progress plain .
done
