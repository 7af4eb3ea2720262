#!/bin/bash
# Run a command in a virtual machine with Debian 12's kernel, and exit with its status.
#
#     tests/vm/run.sh [--timeout SECONDS] [--out DIRECTORY] [--verbose] [--] [COMMAND…]
#
# The command sees the host's file system (its own writes stay in the guest's memory), starts in the
# project's root, and may write to /run/vm/out, which is the directory of --out. Without a command the
# whole end-to-end set runs. The guest has pairs of virtio network cards, each pair joined by a wire:
# nic0 and far0, nic1 and far1. The wires are taps in a network namespace of QEMU's own, so that nothing
# reaches the host's interfaces, and they go when QEMU goes.
#
# The command's environment is the host's PATH, LANG, CI, VNETX_*, PYTEST_* and HYPOTHESIS_*, with VNETX_VM=1.
# Settings: VNETX_VM_ACCEL (tcg), VNETX_VM_CPUS (2), VNETX_VM_MEMORY (3G), VNETX_VM_CABLES (2).
# Exit status of its own: 124 the time was up, 125 the machine died before the command ended.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
project=$(cd "$here/../.." && pwd)
readonly project
readonly WIRES=${VNETX_VM_CABLES:-2}

# What has to be loaded before the host's file system, and with it modprobe, is there.
readonly EARLY_MODULES=(virtio_pci virtio_console virtio_rng 9p 9pnet_virtio overlay)

die() {
    echo "run.sh: $*" >&2
    exit 125
}

usage() {
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}

# early_modules KERNEL: their files in the order in which insmod can take them.
early_modules() {
    local version module
    version=$(<"$1/version")
    for module in "${EARLY_MODULES[@]}"; do
        modprobe --dirname "$1" --set-version "$version" --show-depends --ignore-install "$module" || exit
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }'
}

# make_initramfs KERNEL FILE
make_initramfs() {
    local tree module
    tree=$(mktemp -d "$control/tree.XXXXXX")
    mkdir -p "$tree"/{bin,dev,proc,sys,modules}
    cp "$(command -v busybox)" "$tree/bin/busybox"
    install -m 755 "$here/init.sh" "$tree/init"
    while read -r module; do
        cp "$module" "$tree/modules/"
        echo "${module##*/}" >>"$tree/modules/order"
    done < <(early_modules "$1")
    (cd "$tree" && find . | cpio --quiet -o -H newc) >"$2"
    rm -r "$tree"
}

# guest_environment KERNEL: shell text that init.sh and guest.sh read.
guest_environment() {
    local name wire
    local -a wires=()
    for ((wire = 0; wire < WIRES; wire++)); do
        wires+=("nic$wire:far$wire")
    done
    for name in PATH LANG CI "${!VNETX_@}" "${!PYTEST_@}" "${!HYPOTHESIS_@}"; do
        [[ -v $name ]] && printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'export %s=%q\n' HOME /root VNETX_VM 1 VNETX_VM_PROJECT "$project" VNETX_VM_KERNEL "$1" \
        VNETX_VM_WIRES "${wires[*]}" VNETX_BENCH_CABLES "${wires[*]}"
}

timeout=5400
out=
verbose=
while (($#)); do
    case $1 in
        --timeout) timeout=${2:?seconds} && shift 2 ;;
        --out) out=$(realpath -e "${2:?directory}") && shift 2 ;;
        --verbose) verbose=yes && shift ;;
        --) shift && break ;;
        -*) usage ;;
        *) break ;;
    esac
done
if (($# == 0)); then
    set -- packaging/test.sh vm -p no:cacheprovider -o timeout=600 tests/bpf tests/e2e tests/vm/guest
fi

((EUID == 0)) || die "has to be root (it makes a network namespace and taps)"
for tool in qemu-system-x86_64 busybox cpio; do
    command -v "$tool" >/dev/null || die "$tool is missing: install the packages in tests/vm/debian-packages.txt"
done
kernel=$("$here/kernel.sh")
# The data plane is compiled once, here, where it takes a second; what the guest finds in the cache does
# not depend on the kernel. Where this fails, the guest compiles.
"$project/.venv/bin/python" -c "from vnetx.datapath.build import build; build()" 2>/dev/null || true
control=$(mktemp -d "${TMPDIR:-/tmp}/vnetx-vm.XXXXXX")
machine=
# shellcheck disable=SC2317  # called by the trap
clean_up() {
    [[ -z $machine ]] || { kill "$machine" && wait "$machine"; } 2>/dev/null || true
    rm -rf "$control"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

: >"$control/console"
make_initramfs "$kernel" "$control/initramfs"
guest_environment "$kernel" >"$control/guest.env"
printf '%s\0' "$@" >"$control/command"
if [[ -z $out ]]; then
    out=$control/out
    mkdir "$out"
fi

# QEMU takes only descriptors that are open for writing alone, which a terminal's are not: pipes are.
exec 3> >(exec cat) && pipes=$!
exec 4> >(exec cat >&2) && pipes+=" $!"

# Whatever ends this script ends the machine: the trap, or, after SIGKILL, the signal that setpriv asks for.
setpriv --pdeathsig TERM timeout --kill-after 5 "$timeout" \
    unshare --net -- "$here/machine.sh" "$kernel" "$control" "$out" "$WIRES" \
    >"$control/qemu" 2>&1 </dev/null &
machine=$!
exec 3>&- 4>&-
ended=0
wait "$machine" || ended=$?
machine=
# shellcheck disable=SC2086  # two process numbers
wait $pipes || true

if [[ -n $verbose ]]; then
    sed 's/\r$//' "$control/console" >&2
    [[ ! -f $control/state ]] || echo "run.sh: $(<"$control/state") s after the kernel, $SECONDS s in all" >&2
fi
if [[ -s $control/status ]]; then
    exit "$(<"$control/status")"
elif ((ended == 124)); then
    echo "run.sh: stopped after $timeout s" >&2
    exit 124
fi
cat "$control/qemu" >&2
sed 's/\r$//' "$control/console" 2>/dev/null | tail -n 100 >&2
die "the machine died before the command ended (QEMU's status $ended)"
