#!/bin/bash
# machine.sh KERNEL CONTROL OUT WIRES: the virtual machine itself. run.sh starts this in a network namespace
# made for it, with file descriptors 3 and 4 to take the guest command's outputs; it becomes QEMU.
set -euo pipefail

readonly kernel=$1 control=$2 out=$3 wires=$4
readonly QUEUES=4 # twice the guest's processors: XDP then has transmit queues of its own

# Two taps for every wire, each one's frames going out of the other.
lay_wires() {
    local wire end tap other
    for ((wire = 0; wire < wires; wire++)); do
        for end in 0 1; do
            tap=wire$wire.$end
            ip tuntap add "$tap" mode tap multi_queue vnet_hdr
            ip link set dev "$tap" mtu 9500 up
            tc qdisc add dev "$tap" clsact
        done
        for end in 0 1; do
            tap=wire$wire.$end other=wire$wire.$((1 - end))
            tc filter add dev "$tap" ingress protocol all u32 match u32 0 0 action mirred egress redirect dev "$other"
        done
    done
}

qemu() {
    local wire end id append
    local -a arguments
    append="console=ttyS0 panic=-1 oops=panic loglevel=5 tsc=reliable mitigations=off audit=0 apparmor=0 random.trust_cpu=on"
    # shellcheck disable=SC2054  # the commas are QEMU's
    arguments=(
        -name vnetx-vm -nodefaults -no-user-config -no-reboot -display none -monitor none
        -machine "pc,accel=${VNETX_VM_ACCEL:-tcg}" -cpu max
        -smp "${VNETX_VM_CPUS:-2}" -m "${VNETX_VM_MEMORY:-3G}"
        -kernel "$kernel/vmlinux" -initrd "$control/initramfs" -append "$append"
        -serial "file:$control/console"
        -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng
        -fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
        -device virtio-9p-pci,fsdev=host,mount_tag=host
        -fsdev "local,id=control,path=$control,security_model=none"
        -device virtio-9p-pci,fsdev=control,mount_tag=control
        -fsdev "local,id=out,path=$out,security_model=none"
        -device virtio-9p-pci,fsdev=out,mount_tag=out
        -add-fd fd=3,set=1 -chardev file,id=out,path=/dev/fdset/1,append=on
        -add-fd fd=4,set=2 -chardev file,id=err,path=/dev/fdset/2,append=on
        -device virtio-serial-pci
        -device virtserialport,chardev=out,name=out -device virtserialport,chardev=err,name=err
    )
    for ((wire = 0; wire < wires; wire++)); do
        for end in 0 1; do
            id=wire$wire.$end
            arguments+=(
                -netdev "tap,id=$id,ifname=$id,queues=$QUEUES,script=no,downscript=no,vhost=off"
                -device "virtio-net-pci,netdev=$id,mac=02:00:5e:00:0$wire:0$end,mq=on,vectors=$((2 * QUEUES + 2)),romfile="
            )
        done
    done
    exec qemu-system-x86_64 "${arguments[@]}"
}

lay_wires
qemu
