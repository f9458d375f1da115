#!/usr/bin/env bash
# Sees to it that Debian packages are installed: xtask/apple/packages.sh PACKAGE...
#
# Without a package there is nothing to do. Exits with 75 if they are missing and cannot be had: no apt, no right to install, no network. Never waits long.
set -euo pipefail

missing=()
for package in "$@"; do
    state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || state=
    [ "${state:0:2}" = ii ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

unavailable() {
    echo "packages.sh: $1; missing: ${missing[*]}" >&2
    exit 75
}
command -v apt-get >/dev/null || unavailable "there is no apt-get"
as_root=()
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || unavailable "only root may install packages"
    as_root=(sudo -n)
fi
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -qq -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1
    -o DPkg::Lock::Timeout=60 -o APT::Sandbox::User=root)
install() {
    timeout 400 "${as_root[@]}" "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2
}
# The lists that are there may do, and a fresh machine has none.
install 2>/dev/null && exit 0
timeout 150 "${as_root[@]}" "${apt[@]}" update >&2 || unavailable "the lists of packages cannot be had"
install || unavailable "they cannot be installed"
