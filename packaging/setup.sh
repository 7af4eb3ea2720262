#!/bin/bash
# Make a checkout ready: Debian packages, virtual environment, locked dependencies, extensions.
#
#   packaging/setup.sh [--test] [STEP…]     STEP: apt venv deps build (all of them by default)
#
# Every step looks at what is there first, so that a second run costs a fraction of a second.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# bcc belongs to Debian's interpreter; another python3 on the PATH cannot import it.
python=/usr/bin/python3
venv=.venv

say() { printf '[setup] %s\n' "$*" >&2; }

die() {
    printf '[setup] error: %s\n' "$*" >&2
    exit 1
}

hash_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }

stamped() { [ "$(cat "$venv/.stamp-$1" 2>/dev/null)" = "$2" ]; }

stamp() { printf '%s\n' "$2" >"$venv/.stamp-$1"; }

package_names() { sed 's/#.*//; /^[[:space:]]*$/d' "$@"; }

missing_packages() {
    local installed
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
    package_names "$@" | grep -vxF -f <(printf '%s\n' "$installed") || true
    # bcc compiles with the headers of any Debian kernel, the running one's or not.
    compgen -G '/lib/modules/*/build/include/generated/autoconf.h' >/dev/null ||
        printf 'linux-headers-%s\n' "$(dpkg --print-architecture)"
}

# The package database is the truth, so there is no stamp that could disagree with it.
step_apt() {
    local lists=(packaging/debian-packages.txt) missing
    [ -z "${with_tests:-}" ] ||
        lists+=(packaging/debian-packages-test.txt tests/vm/debian-packages.txt)
    command -v dpkg-query >/dev/null || die "set-up installs Debian packages, and this is not Debian"
    mapfile -t missing < <(missing_packages "${lists[@]}")
    [ ${#missing[@]} -gt 0 ] || return 0

    say "installing ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive
        apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
    packaging/as-root "${apt[@]}" update || say "warning: the package lists could not be updated"
    packaging/as-root "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}

# A virtual environment holds absolute paths: one that was moved, or whose interpreter
# was upgraded, is made anew.
step_venv() {
    local identity
    identity="$root $(readlink -f "$python")"
    [ -x "$venv/bin/python" ] && stamped venv "$identity" && return
    say "making $venv"
    rm -rf "$venv"
    "$python" -m venv --system-site-packages "$venv"
    stamp venv "$identity"
}

step_deps() {
    local identity
    identity=$(hash_of requirements.lock requirements-dev.lock)
    stamped deps "$identity" && return
    say "installing the locked dependencies"
    "$venv/bin/python" -m pip install -q --no-input --disable-pip-version-check --no-deps \
        -r requirements-dev.lock
    stamp deps "$identity"
}

extensions_present() {
    local source name
    for source in cython/*.pyx; do
        name=$(basename "$source" .pyx)
        compgen -G "vnetx/$name.*.so" >/dev/null || return 1
    done
}

# What of pyproject.toml the build reads; a changed lint rule is no reason to build again.
build_settings() {
    "$venv/bin/python" - <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    settings = tomllib.load(file)
tools = settings["tool"]
print(settings["build-system"], settings["project"], tools["setuptools"], tools["distutils"])
PYTHON
}

# The editable install links the checkout into the environment and builds the extensions in
# place; after that, each is rebuilt when its own sources have changed.
step_build() {
    local project sources
    project=$(build_settings | sha256sum)
    sources=$project$(find cython bpf/include -name '*.pyx' -o -name '*.px[di]' -o -name '*.h' |
        LC_ALL=C sort | xargs sha256sum | sha256sum)
    if ! stamped link "$project"; then
        say "linking the checkout into $venv and building the extensions"
        "$venv/bin/python" -m pip install -q --no-input --disable-pip-version-check \
            --no-deps --no-build-isolation --editable .
    elif ! stamped build "$sources" || ! extensions_present; then
        say "rebuilding the extensions"
        "$venv/bin/python" -W ignore::UserWarning -c 'from setuptools import setup; setup()' \
            -q build_ext --inplace
    fi
    stamp link "$project"
    stamp build "$sources"
}

if [ "${1:-}" = --test ]; then
    with_tests=yes
    shift
fi
[ $# -gt 0 ] || set -- apt venv deps build

unset PYTHONHOME PYTHONPATH VIRTUAL_ENV
export PATH=$PATH:/usr/sbin:/sbin

# Two set-ups of one checkout at once take turns.
exec 9<"$root"
flock 9

for step in "$@"; do
    case $step in
    apt | venv | deps | build) "step_$step" ;;
    *) die "unknown step '$step'" ;;
    esac
done
