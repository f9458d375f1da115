#!/usr/bin/env bash
# Builds the fake of AppleNeuralEngine and runs the Apple back end against it: see docs/apple-engine.md.
#
#   xtask/apple/fake_ane.sh            its tests
#   xtask/apple/fake_ane.sh COMMAND    any command of `backpropane`, with `--device ane` meaning the fake engine
#
# It exits with 75 where the fake engine cannot be built: another system, or packages that are missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
build=$PWD/target/fake_ane

missing() {
    printf 'error: the fake engine needs %s\n  = help: %s\n' "$1" "$2" >&2
    exit 75
}
[ "$(uname -sm)" = "Linux x86_64" ] || missing "x86_64 Linux" "on a Mac, run \`backpropane doctor\`, which asks the real engine"
command -v gcc >/dev/null || missing "gcc" "apt-get install gcc"
packages="apt-get install --no-install-recommends gobjc libgnustep-base-dev libblas3"
gcc -x objective-c -fsyntax-only - </dev/null 2>/dev/null || missing "GCC's Objective-C compiler" "$packages"
[ -e /usr/include/GNUstep/Foundation/Foundation.h ] || missing "GNUstep's Foundation" "$packages"
[[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) == *libblas.so.3* ]] || missing "a CBLAS in the place of Accelerate" "$packages"

# The whole workspace, as in `cargo xtask ci`: what does not know of the fake engine is built once for both.
export CARGO_TARGET_DIR=$PWD/target
all=(--workspace --features ane/fake_ane,cli/fake_ane,softane/blas,objc_apple_shim/gnustep)

# The shim and the engine are libraries of ours; the tests link to the first, the framework to the second. With a test
# among what is built, cargo takes all features that tests ask of libraries, so that these are built once.
cargo build --quiet --lib --test flow "${all[@]}"
libraries=$build/libraries
mkdir -p "$libraries"
cp target/debug/libobjc_apple_shim.so target/debug/libfake_ane_engine.so "$libraries"

# The framework, and a variant for each change that a new macOS could bring.
framework() {
    local to=$build/$1
    shift
    mkdir -p "$to"
    gcc -shared -fPIC -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter -std=gnu11 -x objective-c \
        -fobjc-exceptions -fconstant-string-class=NSConstantString -D_NATIVE_OBJC_EXCEPTIONS -DGNUSTEP \
        -DGNUSTEP_BASE_LIBRARY=1 -isystem /usr/include/GNUstep "$@" fake_ane/framework/*.m -x none \
        -o "$to/libAppleNeuralEngine.so" -L"$libraries" -lfake_ane_engine -Wl,-rpath,"$libraries" -lgnustep-base -lobjc
}
framework framework
framework wrong-type -DFAKE_ANE_WRONG_TYPE
framework no-method -DFAKE_ANE_NO_METHOD
framework no-class -DFAKE_ANE_NO_CLASS

export LIBRARY_PATH=$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}
export LD_LIBRARY_PATH=$build/framework:$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export BACKPROPANE_FAKE_ANE=$build
# Programs' folders are counted: nobody else's may be among them.
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
export TEMP=$temporary TMP=$temporary TMPDIR=$temporary
if [ $# -gt 0 ]; then
    cargo build --quiet --bin backpropane --test flow "${all[@]}"
    target/debug/backpropane "$@"
    exit
fi
cargo clippy --quiet --all-targets "${all[@]}" -- -D warnings
cargo test --quiet "${all[@]}" --lib -- accelerate
cargo test "${all[@]}" --test fake_ane
# Once more with the dead kept as zombies: a message to an object that was released once too often ends the process.
# They use up memory, so that nothing can be said of growth. The large layer sends no other messages than small models do.
NSZombieEnabled=YES CRASH_ON_ZOMBIE=YES cargo test --quiet "${all[@]}" --test fake_ane -- --skip nothing_grows \
    --skip a_layer_of_width_768
echo "apple fake_ane: the back end does what is claimed of the engine, and bears its faults" >&2
