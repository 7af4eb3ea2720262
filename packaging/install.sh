#!/bin/bash
# Install a copy of vnetx that does not depend on this checkout, or remove it again.
#
#   packaging/install.sh install|uninstall PREFIX SYSCONFDIR [DESTDIR]
#
# Everything Python lives in PREFIX/lib/vnetx; the files outside it are listed in its `manifest`.
set -euo pipefail
umask 022

cd "$(dirname "$0")/.."

[ $# -ge 3 ] || {
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
verb=$1 prefix=$2 sysconfdir=$3 destdir=${4:-}

home=$prefix/lib/vnetx
manifest=$destdir$home/manifest
example=$sysconfdir/vnetx/vnetx.yaml.example

say() { printf '[%s] %s\n' "$verb" "$*"; }

with_systemd() { [ -z "$destdir" ] && [ -d /run/systemd/system ]; }

# put SOURCE TARGET: a file outside the home, remembered for uninstall.
put() {
    install -D -m 644 "$1" "$destdir$2"
    printf '%s\n' "$2" >>"$manifest"
}

remove() {
    local file
    if [ -f "$manifest" ]; then
        while IFS= read -r file; do rm -f "$destdir$file"; done <"$manifest"
    fi
    rm -rf "$destdir${home:?}"
}

# A build from a copy of the sources: what an earlier build left behind cannot get in.
build_wheel() {
    cp -a pyproject.toml LICENSE vnetx bpf cython cli perf "$work/src/"
    (cd "$work/src" && "$OLDPWD/.venv/bin/python" -W ignore::UserWarning -m pip wheel -q --no-deps \
        --no-build-isolation --disable-pip-version-check -w "$work/wheels" .)
}

make_home() {
    local target=$destdir$home
    local pip=(.venv/bin/python -m pip --python "$target/bin/python" install -q --no-input --no-deps
        --no-compile --ignore-installed --no-warn-script-location --disable-pip-version-check)
    mkdir -p "$target"
    /usr/bin/python3 -m venv --without-pip --system-site-packages "$target"
    "${pip[@]}" -r requirements.lock
    "${pip[@]}" --no-index --find-links "$work/wheels" vnetx
    sed -i "/^command/d" "$target/pyvenv.cfg"
    # The paths in it are those of the running system, whatever DESTDIR was. Isolated (-I):
    # a command that root runs takes no module from the caller's environment.
    sed -i "1s|^#!.*|#!$home/bin/python -I|" "$target/bin/vnetx"
    find "$target/bin" -type f ! -name vnetx -delete
    "$target/bin/python" -m compileall -q ${destdir:+-s "$destdir" -p /} "$target/lib"
}

put_files() {
    local page
    mkdir "$work/man" "$work/complete"
    .venv/bin/python packaging/clidoc.py man "$work/man"
    .venv/bin/python packaging/clidoc.py complete "$work/complete"
    for page in "$work"/man/*; do put "$page" "$prefix/share/man/man8/${page##*/}"; done
    put "$work/complete/vnetx.bash" "$prefix/share/bash-completion/completions/vnetx"
    put "$work/complete/vnetx.zsh" "$prefix/share/zsh/site-functions/_vnetx"
    put "$work/complete/vnetx.fish" "$prefix/share/fish/vendor_completions.d/vnetx.fish"
    sed "s|@PREFIX@|$prefix|g; s|@SYSCONFDIR@|$sysconfdir|g" packaging/vnetx.service.in \
        >"$work/vnetx.service"
    put "$work/vnetx.service" "$prefix/lib/systemd/system/vnetx.service"
    [ -e "$destdir$example" ] || install -D -m 644 packaging/vnetx.yaml.example "$destdir$example"

    mkdir -p "$destdir$prefix/bin"
    ln -sfn ../lib/vnetx/bin/vnetx "$destdir$prefix/bin/vnetx"
    printf '%s\n' "$prefix/bin/vnetx" >>"$manifest"
}

do_install() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/src"
    build_wheel
    remove
    make_home
    put_files
    ! with_systemd || systemctl daemon-reload
    say "$destdir$prefix/bin/vnetx is ready; 'man vnetx' documents it"
    say "'systemctl enable vnetx' applies $sysconfdir/vnetx/vnetx.yaml at each boot"
}

do_uninstall() {
    [ -f "$manifest" ] || {
        say "there is no vnetx under $destdir$prefix"
        return
    }
    ! with_systemd || systemctl disable -q vnetx.service 2>/dev/null || true
    remove
    # What somebody edited is theirs.
    if cmp -s packaging/vnetx.yaml.example "$destdir$example"; then rm "$destdir$example"; fi
    rmdir "$destdir$sysconfdir/vnetx" 2>/dev/null || true
    ! with_systemd || systemctl daemon-reload
    say "removed; switches that run go on running ('vnetx detach --all' would have ended them)"
}

case $verb in
install | uninstall) "do_$verb" ;;
*)
    echo "unknown verb '$verb'" >&2
    exit 2
    ;;
esac
