#!/usr/bin/env bash
# Builds backpropane, and prints the table of this machine: run.sh [--setup PEER]… [--targets] [OPTIONS of `bench peers`]
#   --setup PEER   first set up torch, jax, mlx, candle, burn or mklfix, here; without it nothing is downloaded
#   --targets      then compare with the targets for AMX, 2 threads: exit code 1 if one is missed
# The times of all rounds are appended to rounds.jsonl, here.
set -euo pipefail
cd "$(dirname "$0")"

# Python packages, each in an environment of its own.
venv() {
    local name=$1
    shift
    [ -x "venvs/$name/bin/python" ] || python3 -m venv "venvs/$name"
    "venvs/$name/bin/pip" install "$@"
}
crate() {
    (cd "$1" && CARGO_TARGET_DIR=../target RUSTFLAGS='-C target-cpu=native' cargo build --release --locked)
}
setup() {
    case $1 in
        torch) venv torch torch==2.15.0 numpy==2.4.6 ;; # 5 GB; `torch.compile` needs g++
        jax) venv jax jax==0.10.2 numpy==2.4.6 ;;
        mlx) venv mlx "mlx$([ "$(uname)" = Darwin ] || echo '[cpu]')==0.32.4" numpy==2.4.6 ;; # Linux: libopenblas0-pthread
        candle | burn) crate "peer-$1" ;;
        mklfix) "${CC:-cc}" -shared -fPIC -O2 mklfix.c -o mklfix.so ;; # AMD processors
        *)
            echo "error: no peer is called \`$1\`: torch, jax, mlx, candle, burn or mklfix" >&2
            exit 2
            ;;
    esac
}

targets= options=()
while [ $# -gt 0 ]; do
    case $1 in
        --setup)
            [ $# -ge 2 ] || { echo "error: --setup needs the name of a peer" >&2; exit 2; }
            setup "$2" >&2
            shift
            ;;
        --targets) targets=yes ;;
        *) options+=("$1") ;;
    esac
    shift
done
cargo build --release --package cli --manifest-path ../../Cargo.toml >&2
bench=(../../target/release/backpropane bench peers --folder . --log rounds.jsonl)
if [ -z "$targets" ]; then
    exec "${bench[@]}" "${options[@]}"
fi
result=$(mktemp)
trap 'rm -f "$result"' EXIT
status=0
"${bench[@]}" --threads 2 --rounds 5 --json "${options[@]}" >"$result" || status=$?
python3 targets.py "$result" || status=$?
exit "$status"
