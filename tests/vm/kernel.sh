#!/bin/bash
# Fetch Debian 12's kernel for the virtual machine, and print the directory that holds it.
#
# The directory has vmlinux, lib/modules/VERSION (with modprobe's indexes, and build and source leading to
# kernel headers) and the file version. Nothing under /boot or /lib/modules is touched. It is made once;
# after that this script only prints its path.
set -euo pipefail

readonly SERIES=6.1
readonly CACHE=${XDG_CACHE_HOME:-/var/cache}/vnetx/vm

die() {
    echo "kernel.sh: $*" >&2
    exit 1
}

# The newest unpacked kernel that still has its headers, or failure.
cached() {
    local stamp home
    while read -r stamp; do
        home=$(dirname "$stamp")
        if [[ -d $home/lib/modules/$(<"$stamp")/build/include ]]; then
            echo "$home"
            return
        fi
    done < <(find "$CACHE" -mindepth 2 -maxdepth 2 -path "*/$SERIES.*/version" 2>/dev/null | sort -rV)
    return 1
}

# Whether apt's lists offer a package.
offered() {
    apt-cache show --quiet=2 "$1" >/dev/null 2>&1
}

# The kernel whose headers are installed if Debian still offers its image, else linux-image-amd64's own.
choose_version() {
    local headers version
    while read -r headers; do
        version=${headers#/usr/src/linux-headers-}
        if offered "linux-image-$version"; then
            echo "$version"
            return
        fi
    done < <(find /usr/src -maxdepth 1 -name "linux-headers-$SERIES.*-amd64" | sort -rV)
    apt-cache depends linux-image-amd64 2>/dev/null | sed -n "s/.*Depends: linux-image-\($SERIES\..*-amd64\)$/\1/p" | head -n1
}

update() {
    apt-get update --quiet=2 >&2
}

# apt's sandbox user cannot write into a directory of root's; signatures are checked all the same.
download() {
    apt-get download --quiet=2 -o APT::Sandbox::User=root "$@" >&2
}

# fetch DIRECTORY PACKAGE…: unpack Debian packages beneath a directory, installing nothing.
fetch() {
    local into=$1 package
    shift
    mkdir -p "$into/debs"
    (cd "$into/debs" && { download "$@" || { update && download "$@"; }; })
    for package in "$into"/debs/*.deb; do
        dpkg-deb -x "$package" "$into"
    done
    rm -r "$into/debs"
}

# Where a package's files under /usr/src are, installed or unpacked beneath the directory given.
headers_of() {
    local place
    for place in "/usr/src/$2" "$1/usr/src/$2"; do
        [[ -d $place ]] && echo "$place" && return
    done
    return 1
}

# uncompress VMLINUZ: the ELF file inside, since to uncompress it takes an emulated processor 5 s a boot.
# The offsets are those of Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length.
uncompress() {
    local sectors offset length
    sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N 4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N 4 "$1")
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=$(((sectors + 1) * 512 + offset)) count="$length" status=none |
        xz --decompress --single-stream
}

main() {
    local version partial home flavour common
    if cached; then
        return
    fi
    mkdir -p "$CACHE"
    exec 9>"$CACHE/.lock"
    flock 9
    if cached; then # another run has just made it
        return
    fi
    offered linux-image-amd64 || update
    version=$(choose_version)
    [[ -n $version ]] || die "Debian's package lists offer no $SERIES kernel: is this Debian 12, and did 'apt-get update' work?"
    home=$CACHE/$version
    flavour=linux-headers-$version
    common=linux-headers-${version%-amd64}-common

    partial=$(mktemp -d "$CACHE/.partial.XXXXXX")
    # shellcheck disable=SC2064  # the path as it is now
    trap "rm -rf '$partial'" EXIT
    echo "kernel.sh: fetching Debian's kernel $version into $home" >&2
    fetch "$partial" "linux-image-$version"
    [[ -d /usr/src/$flavour && -d /usr/src/$common ]] || fetch "$partial" "$flavour" "$common"
    uncompress "$partial/boot/vmlinuz-$version" >"$partial/vmlinux"
    depmod -b "$partial" "$version"

    rm -rf "$home"
    mv "$partial" "$home"
    chmod 755 "$home"
    ln -sfn "$(headers_of "$home" "$flavour")" "$home/lib/modules/$version/build"
    ln -sfn "$(headers_of "$home" "$common")" "$home/lib/modules/$version/source"
    echo "$version" >"$home/version"
    echo "$home"
}

main "$@"
