#!/bin/sh
# A Docker engine of the tests' own, beside the machine's: engine.sh FOLDER BRIDGE ADDRESS GROUP, as root.
# It runs until its standard input is closed, which the end of the tests does in any case, and leaves nothing behind.
set -eu
dir=$1 bridge=$2 address=$3 group=$4
PATH=$PATH:/usr/sbin:/sbin

dockerd='' containerd=''
clean_up() {
    for pid in $dockerd $containerd; do
        kill "$pid" && wait "$pid" || true
    done
    ip link delete "$bridge" || true
    rm -rf "$dir"
}
trap clean_up EXIT

# `RUN` steps need a bridge. The machine's engine keeps its own bridge, and its rules for packets.
ip link add "$bridge" type bridge
ip address add "$address" dev "$bridge"
ip link set "$bridge" up
# Without a containerd of its own, the engine would share a running one, and what it holds, with the machine's engine.
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$dir/containerd.toml"
containerd --config "$dir/containerd.toml" --root "$dir/containerd" --state "$dir/containerd-state" \
    --address "$dir/containerd.sock" >"$dir/containerd.log" 2>&1 &
containerd=$!
dockerd --config-file "$dir/daemon.json" --host "unix://$dir/docker.sock" --group "$group" \
    --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
    --containerd "$dir/containerd.sock" --bridge "$bridge" --ip-forward=false --iptables=false --ip6tables=false \
    >"$dir/dockerd.log" 2>&1 &
dockerd=$!
cat >/dev/null
