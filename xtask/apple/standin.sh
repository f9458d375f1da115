#!/usr/bin/env bash
# Builds the stand-in for AppleNeuralEngine and runs the Apple back end against it: see docs/apple-engine.md.
#
#   xtask/apple/standin.sh            its tests
#   xtask/apple/standin.sh COMMAND    any command of `backpropane`, with `--device ane` meaning the stand-in
#
# It exits with 75 where the stand-in cannot be built: another system, or packages that are missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
build=$PWD/target/standin

missing() {
    printf 'error: the stand-in needs %s\n  = help: %s\n' "$1" "$2" >&2
    exit 75
}
[ "$(uname -sm)" = "Linux x86_64" ] || missing "x86_64 Linux" "on a Mac, run \`backpropane doctor\`, which asks the real engine"
command -v gcc >/dev/null || missing "gcc" "apt-get install gcc"
packages="apt-get install --no-install-recommends gobjc libgnustep-base-dev libblas3"
gcc -x objective-c -fsyntax-only - </dev/null 2>/dev/null || missing "GCC's Objective-C compiler" "$packages"
[ -e /usr/include/GNUstep/Foundation/Foundation.h ] || missing "GNUstep's Foundation" "$packages"
[[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) == *libblas.so.3* ]] || missing "a CBLAS in the place of Accelerate" "$packages"

# The whole workspace, as in `cargo xtask ci`: what does not know of the stand-in is built once for both.
export CARGO_TARGET_DIR=$PWD/target
all=(--workspace --features ane/standin,cli/standin,softane/blas,objc_apple_shim/gnustep)

# The shim and the engine are libraries of ours; the tests link to the first, the framework to the second. With a test
# among what is built, cargo takes all features that tests ask of libraries, so that these are built once.
cargo build --quiet --lib --test flow "${all[@]}"
libraries=$build/libraries
mkdir -p "$libraries"
cp target/debug/libobjc_apple_shim.so target/debug/libstandin_engine.so "$libraries"

# The framework, and a variant for each change that a new macOS could bring.
framework() {
    local to=$build/$1
    shift
    mkdir -p "$to"
    gcc -shared -fPIC -O1 -g -Wall -Wextra -Werror -Wno-unused-parameter -std=gnu11 -x objective-c \
        -fobjc-exceptions -fconstant-string-class=NSConstantString -D_NATIVE_OBJC_EXCEPTIONS -DGNUSTEP \
        -DGNUSTEP_BASE_LIBRARY=1 -isystem /usr/include/GNUstep "$@" standin/framework/*.m -x none \
        -o "$to/libAppleNeuralEngine.so" -L"$libraries" -lstandin_engine -Wl,-rpath,"$libraries" -lgnustep-base -lobjc
}
framework framework
framework wrong-type -DSTANDIN_WRONG_TYPE
framework no-method -DSTANDIN_NO_METHOD
framework no-class -DSTANDIN_NO_CLASS

export LIBRARY_PATH=$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}
export LD_LIBRARY_PATH=$build/framework:$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export BACKPROPANE_STANDIN=$build
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
cargo test --quiet "${all[@]}" --lib -- simd::blas
cargo test "${all[@]}" --test standin
# Once more with the dead kept as zombies: a message to an object that was released once too often ends the process.
# They use up memory, so that nothing can be said of growth. The large layer sends no other messages than small models do.
NSZombieEnabled=YES CRASH_ON_ZOMBIE=YES cargo test --quiet "${all[@]}" --test standin -- --skip nothing_grows \
    --skip a_layer_of_width_768
echo "apple standin: the back end does what is claimed of the engine, and bears its faults" >&2
