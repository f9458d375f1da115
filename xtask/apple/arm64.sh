#!/usr/bin/env bash
# Runs softane's tests as programs for arm64 Linux, under qemu: the vector code that Apple silicon runs, proven without one.
# Single kernels, every operation against its meaning (`agree`) and what fuzzing found (`corpus`): some minutes, most of them for
# compiling and for `agree`. Nothing is measured.
#
# It exits with 75 where that cannot be had: another system, or packages that are missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=aarch64-unknown-linux-gnu

missing() {
    printf 'error: arm64 tests need %s\n  = help: %s\n' "$1" "$2" >&2
    exit 75
}
[ "$(uname -sm)" = "Linux x86_64" ] || missing "x86_64 Linux" "on an arm64 machine, \`cargo test -p softane\` is the same"
packages="apt-get install --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
command -v aarch64-linux-gnu-gcc >/dev/null || missing "a linker for arm64" "$packages"
command -v qemu-aarch64 >/dev/null || missing "qemu-aarch64" "$packages"
status=0
answer=$("$here/std.sh" "$target") || status=$?
[ "$status" = 0 ] || exit "$status"
eval "$answer"

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
# What `apple check` builds for the machine at hand is used again: libraries are not optimised, our own crates are.
plain=(--config profile.dev.opt-level=0 --config profile.dev.debug=false
    --config profile.dev.package.mil.opt-level=1 --config 'profile.dev.package."*".opt-level=0')
# All of softane's tests; arguments choose some: `xtask/apple/arm64.sh --lib rows`.
[ $# -gt 0 ] || set -- --lib --tests
cargo test -p softane "${plain[@]}" --target "$target" --target-dir target/apple "$@"
echo "apple arm64: softane's tests pass on arm64, as far as qemu is one" >&2
