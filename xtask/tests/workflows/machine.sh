#!/bin/sh
# A machine as docker finds it on one of GitHub's runners: machine.sh FOLDER BRIDGE ADDRESS UID GID COMMAND…, as root in
# namespaces of its own for mounts and processes. Its engine keeps images in the classic store, stands where every
# program looks for it, and ends with the command; what runs beside it is as on the machine around it.
set -eu
dir=$1 bridge=$2 address=$3 uid=$4 gid=$5
shift 5
PATH=$PATH:/usr/sbin:/sbin

clean_up() {
    kill "$(cat /run/docker.pid)" && while [ -e /run/docker.pid ]; do sleep 0.1; done || true
    ip link delete "$bridge" || true
    umount /var/lib/docker /etc/docker || true
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 143' TERM

mkdir -p "$dir/etc" "$dir/lib" /etc/docker /var/lib/docker
mount --bind "$dir/etc" /etc/docker
mount --bind "$dir/lib" /var/lib/docker
mount -t tmpfs tmpfs /run
# `RUN` steps need a bridge. The machine's engine keeps its own bridge, and its rules for packets.
ip link add "$bridge" type bridge
ip address add "$address" dev "$bridge"
ip link set "$bridge" up
cat >/etc/docker/daemon.json <<END
{"bridge": "$bridge", "group": "$gid", "iptables": false, "ip6tables": false, "ip-forward": false}
END
dockerd >"$dir/dockerd.log" 2>&1 &
until docker version >/dev/null 2>&1; do
    kill -0 $! || { cat "$dir/dockerd.log" >&2; exit 1; }
    sleep 0.1
done
# In the background, so that a signal need not wait for it.
if [ "$uid" = 0 ]; then "$@" & else setpriv --reuid "$uid" --regid "$gid" --init-groups "$@" & fi
wait $!
