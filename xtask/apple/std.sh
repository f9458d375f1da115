#!/usr/bin/env bash
# Rust's standard library for another target, built once from Debian's `rust-src`; prints what to export.
#
#   eval "$(xtask/apple/std.sh [TARGET] [CACHE])"
#
# First the source of exactly the compiler in use is looked for; where the mirror no longer has it, Debian's own
# compiler is taken with its own source, and RUSTC is exported too: evaluate in a subshell. ~/.rustup stays as it is.
# Exits with 75 if something cannot be had: no apt, no network, no such package. Whatever fails of what is there (unpacking,
# building) is a failure, with another code.
set -euo pipefail

target=${1:-aarch64-apple-darwin}
cache=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/backpropane/std}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
flags=CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_RUSTFLAGS
version=$(rustc -vV | sed -n 's/^release: //p')
answer=$cache/env-$version-$target
src=
clippy="cargo clippy"

say() { echo "std.sh: $*" >&2; }
unavailable() {
    say "$*"
    exit 75
}
broken() {
    say "$*"
    exit 1
}

if [ -e "$answer" ]; then
    cat "$answer"
    exit
fi

# One build at a time; who waited finds it done.
exec 9>"$cache/lock"
flock 9
if [ -e "$answer" ]; then
    cat "$answer"
    exit
fi

for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || unavailable "there is no $tool: this needs Debian's packages"
done
network=(-o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 -o Acquire::Retries=1 -o APT::Sandbox::User=root)

# The source of this very compiler, from the backports of the mirror that is set up.
same_version() {
    local a=$cache/apt list=/etc/apt/sources.list.d/debian.sources full
    [ -e "$list" ] || return 1
    rm -rf "$a"
    mkdir -p "$a"/{d,lists/partial,cache/archives/partial}
    awk '/^URIs:/ {
        print "Types: deb\n" $0 "\nSuites: trixie-backports\nComponents: main\nArchitectures: amd64"
        print "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg"
        exit
    }' "$list" >"$a/d/backports.sources"
    local o=("${network[@]}" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$a/d"
        -o Dir::State::Lists="$a/lists" -o Dir::Cache="$a/cache")
    timeout 120 apt-get "${o[@]}" -qq update >&2 || return 1
    full=$(apt-cache "${o[@]}" madison rust-src |
        awk -F'|' -v v="$version+" '{ gsub(/ /, "", $2) } index($2, v) == 1 { print $2; exit }')
    [ -n "$full" ] || return 1
    (cd "$a" && timeout 300 apt-get "${o[@]}" -qq download "rust-src=$full" >&2) || return 1
    dpkg-deb --fsys-tarfile "$a"/rust-src_*.deb | tar x -C "$cache" --wildcards './usr/src/rustc-*/library' ||
        broken "rust-src=$full cannot be unpacked"
    rm -rf "$a"
    src=$cache/usr/src/rustc-$version/library
    [ -d "$src" ] || broken "rust-src=$full has no usr/src/rustc-$version/library"
}

# Debian's compiler and the source it was built from, unpacked and not installed.
pair() {
    local d=$cache/deb llvm lib
    rm -rf "$d"
    mkdir -p "$d/debs" "$d/bin"
    timeout 120 apt-get "${network[@]}" -qq update >&2 || return 1
    llvm=$(apt-cache depends libstd-rust-web-dev 2>/dev/null | awk '/Depends: libstd-rust-web-/ { print $2 }')
    [ -n "$llvm" ] || return 1
    lib=$(apt-cache depends "$llvm" | awk '/Depends: libllvm/ { print $2 }')
    (cd "$d/debs" && timeout 600 apt-get "${network[@]}" -qq download \
        rustc-web rust-web-src rust-web-clippy libstd-rust-web-dev "$llvm" "$lib" >&2) || return 1
    for package in "$d"/debs/*.deb; do dpkg-deb -x "$package" "$d" || broken "$package cannot be unpacked"; done
    rm -rf "$d/debs"
    for b in rustc rustdoc clippy-driver cargo-clippy; do
        printf '#!/bin/sh\nLD_LIBRARY_PATH=%s/usr/lib:%s/usr/lib/x86_64-linux-gnu exec %s/usr/bin/%s "$@"\n' \
            "$d" "$d" "$d" "$b" >"$d/bin/$b"
        chmod +x "$d/bin/$b"
    done
    export RUSTC=$d/bin/rustc
    version=$("$RUSTC" -vV | sed -n 's/^release: //p') || broken "Debian's compiler does not run"
    src=$d/usr/src/rustc-$version/library
    clippy="$d/bin/cargo-clippy clippy"
    [ -d "$src" ] || broken "rust-web-src has no usr/src/rustc-$version/library"
}

if [ -n "${BACKPROPANE_STD_PAIR:-}" ] || ! same_version; then
    say "no rust-src $version: looking for Debian's own compiler with its source"
    pair || unavailable "Debian's packages cannot be had: neither rust-src $version nor rustc-web with rust-web-src"
fi

say "building the standard library of Rust $version for $target"
seed=$cache/seed
rm -rf "$seed"
mkdir -p "$seed/src"
: >"$seed/src/lib.rs"
printf '[package]\nname = "seed"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[profile.release]\nopt-level = 1\n' \
    >"$seed/Cargo.toml"
# Cargo's own tests point it at a library in this way; a build without a nightly compiler needs the first variable.
on_seed() {
    (cd "$seed" && env -u RUSTFLAGS -u "$flags" -u CARGO_BUILD_TARGET RUSTC_BOOTSTRAP=1 \
        __CARGO_TESTS_ONLY_SRC_ROOT="$src" CARGO_TARGET_DIR="$seed/target" cargo "$@" -q --target "$target" \
        -Z build-std=std,panic_abort,panic_unwind,proc_macro,test >&2)
}
on_seed fetch || unavailable "what the standard library depends on cannot be had: see above"
on_seed build --release || broken "the standard library does not build: see above"
lib=$cache/sysroot-$version/lib/rustlib/$target/lib
rm -rf "$lib"
mkdir -p "$lib"
cp "$seed/target/$target"/release/deps/*.rlib "$lib"
rm -f "$lib"/libseed-*
{
    for v in "$flags" "${flags%FLAGS}DOCFLAGS"; do echo "export $v='--sysroot $cache/sysroot-$version'"; done
    echo "export APPLE_CLIPPY='$clippy'"
    [ -z "${RUSTC:-}" ] || echo "export RUSTC='$RUSTC' RUSTDOC='${RUSTC%c}doc'"
} >"$answer.new"
mv "$answer.new" "$answer"
rm -rf "$seed" "$cache/usr" "$cache/deb/usr/src"
cat "$answer"
