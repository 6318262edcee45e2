#!/bin/sh
# A small disk of the tests' own: disk.sh FOLDER SIZE, as root.
# It is there until its standard input is closed, which the end of the tests does in any case.
set -eu
folder=$1
mount -t tmpfs -o "size=$2,mode=0777" tmpfs "$folder"
trap 'umount --lazy "$folder"' EXIT
echo mounted
cat >/dev/null
