#!/bin/sh
# Process 1 of a node's own pid, network and mount namespaces: with it go every container, mount and interface.
# Argument: the node's directory.
set -e
directory=$1

mount --make-rprivate /
mount --make-rshared /
mkdir -p "$directory/lib" "$directory/log"
mount -t tmpfs tmpfs /run
mount --bind "$directory/lib" /var/lib
mount --bind "$directory/log" /var/log

# kubelet wants these kernel settings, which are the whole machine's; it is shown what it wants to see instead.
mkdir /run/settings
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=/run/settings/$(echo "${setting%%=*}" | tr / .)
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%%=*}"
done

ip link set lo up
# With an address of its own: else the bridge takes the lowest of its ports', and pods lose it whenever a port goes.
ip link add node0 address 0a:58:0a:58:00:01 type bridge
ip addr add 10.88.0.1/16 dev node0
ip link set node0 up
ip addr add 10.0.0.1/32 dev lo  # the service `kubernetes`
ip addr add 10.0.0.10/32 dev lo # names, where somebody answers (services.py)
touch "$directory/namespaces-up"

while :; do sleep 3600; done # and whatever loses its parent is waited for here
