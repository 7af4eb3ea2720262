#!/bin/busybox sh
# shellcheck shell=dash
#
# The virtual machine's first process, in its initial RAM file system: the host's root directory, with
# what the guest writes kept in its own memory, becomes the root, and guest.sh takes over.

/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

fail() {
    echo "init: $*" >/dev/kmsg
    reboot -f
}

while read -r module; do
    insmod "/modules/$module" || fail "insmod $module failed"
done </modules/order

options=trans=virtio,version=9p2000.L,msize=512000,access=any
mkdir -p /host /writes /root
mount -t 9p -o "$options,ro,cache=loose" host /host || fail "the host's file system does not mount"
mount -t tmpfs -o size=75% writes /writes
mkdir /writes/upper /writes/work
mount -t overlay -o lowerdir=/host,upperdir=/writes/upper,workdir=/writes/work overlay /root || fail "overlay"

mount -t tmpfs -o mode=755 run /root/run
mkdir -p /root/run/vm/control /root/run/vm/out
mount -t 9p -o "$options,cache=none" control /root/run/vm/control || fail "the control directory does not mount"
mount -t 9p -o "$options,cache=none" out /root/run/vm/out || fail "the output directory does not mount"
for place in proc sys dev; do
    mount --move "/$place" "/root/$place"
done
# shellcheck source=/dev/null
. /root/run/vm/control/guest.env
exec switch_root /root /bin/bash "$VNETX_VM_PROJECT/tests/vm/guest.sh"
