#!/usr/bin/env bash
# Type-checks, lints and links every crate and every test for Apple silicon, from x86_64 Linux. Nothing is run.
#
# Linking takes stubs of our own (`stubs/`): each lists the symbols that are asked of that library of macOS, and a
# symbol that is not listed is an error that names it. Nothing of this will run, so nothing is optimised.
#
# It exits with 75 where that cannot be done: another system, or a standard library that cannot be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
target=aarch64-apple-darwin

skip() {
    printf '\n############################################################\n' >&2
    printf '# SKIPPED: apple check: %s\n' "$1" >&2
    printf '############################################################\n' >&2
    exit 75
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "it is made for x86_64 Linux; on a Mac, \`cargo xtask ci\` checks the same"
lld=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
status=0
answer=$("$here/std.sh" "$target") || status=$?
[ "$status" != 75 ] || skip "Rust's standard library for $target cannot be had here, see above"
[ "$status" = 0 ] || exit "$status"
eval "$answer"

plain=(--config profile.dev.opt-level=0 --config profile.dev.debug=false
    --config profile.dev.package.softane.opt-level=0 --config 'profile.dev.package."*".opt-level=0')
options=(--workspace --target "$target" --target-dir target/apple)
run() {
    echo >&2
    echo "\$ $*" >&2
    "$@"
}
# shellcheck disable=SC2086 # the variable is a command with its argument
run $APPLE_CLIPPY "${plain[@]}" "${options[@]}" --all-targets -- -D warnings

[ -x "$lld" ] || skip "everything type-checks, but this toolchain has no rust-lld to link with"
export SDKROOT=$here/stubs
export CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER=$lld
export CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS="$CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS -C linker-flavor=ld64.lld"
run cargo test --quiet --no-run "${plain[@]}" "${options[@]}"
echo "apple check: every crate and test type-checks, is free of warnings and links for $target" >&2
