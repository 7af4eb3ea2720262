#!/bin/bash
# The virtual machine's second half of starting up, in the host's root file system (see init.sh): what a
# Debian host would have mounted and named, then the command, then its exit status and the end.
set -u

readonly CONTROL=/run/vm/control
# Not beneath /run: tests that give a process a /run of its own would take it away.
readonly SCRATCH=/var/tmp/vnetx-vm
# shellcheck source=/dev/null
. "$CONTROL/guest.env"

finish() {
    sync
    # QEMU is started with -no-reboot: this ends it at once, without ACPI's help.
    echo b >/proc/sysrq-trigger
    sleep 60
}
trap finish EXIT

mount_all() {
    local modules
    modules=/lib/modules/$(uname -r)
    mkdir -p "$modules" /dev/pts /dev/shm /run/lock "$SCRATCH"
    mount --bind "$VNETX_VM_KERNEL$modules" "$modules"
    mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
    mount -t tmpfs -o mode=1777 shm /dev/shm
    mount -t tmpfs -o mode=1777 scratch "$SCRATCH"
    mount -t bpf bpf /sys/fs/bpf
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t debugfs debugfs /sys/kernel/debug
    mount -t tracefs tracefs /sys/kernel/tracing
    ln -sfn /proc/self/fd /dev/fd
    ln -sfn /proc/self/fd/0 /dev/stdin
    ln -sfn /proc/self/fd/1 /dev/stdout
    ln -sfn /proc/self/fd/2 /dev/stderr
    # From here on mounts are shared between namespaces, as systemd leaves them on a real host.
    mount --make-rshared /
}

# The network cards come in pairs, a wire each, told apart by address: nic0 and far0, nic1 and far1, …
name_nics() {
    local path address wire end
    modprobe -a virtio_net tun
    for path in /sys/class/net/eth*; do
        address=$(<"$path/address")
        IFS=: read -r _ _ _ _ wire end <<<"$address"
        if ((16#$end)); then end=far; else end=nic; fi
        ip link set dev "${path##*/}" name "$end$((16#$wire))"
    done
    ip link set dev lo up
}

# bcc stands on LLVM: to read 170 MB from beginning to end takes 3 s, to fault them in bit by bit 15 s.
warm_up() {
    ldd /usr/lib/x86_64-linux-gnu/libbcc.so.0 | awk '/=> \// { print $3 }' | xargs cat >/dev/null
}

# The device of one of the named ports that carry the command's outputs to the host.
output() {
    local name
    name=$(grep -lx "$1" /sys/class/virtio-ports/*/name) && name=${name%/name} && echo "/dev/${name##*/}"
}

mount_all
name_nics
warm_up 2>/dev/null &
sysctl -qw net.core.bpf_jit_enable=1
hostname vnetx-vm
mapfile -d '' -t command <"$CONTROL/command"
cd "$VNETX_VM_PROJECT" || exit
export TMPDIR=$SCRATCH
echo "started $(cut -d' ' -f1 /proc/uptime)" >"$CONTROL/state"

"${command[@]}" </dev/null >"$(output out)" 2>"$(output err)"
echo "$?" >"$CONTROL/status"
