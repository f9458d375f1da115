#!/usr/bin/env bash
# Times backpropane beside every peer that is set up, in turns: run.sh [WORKLOADS] [THREADS] [ROUNDS]
#   VENVS  folder with the Python environments torch, jax and mlx        FIX    mklfix.so
#   BIN    folder with peer-candle and peer-burn                         BLAS   libopenblas.so.0, for MLX on Linux
set -uo pipefail
cd "$(dirname "$0")" || exit 1
ours=../../target/release/backpropane
venvs=${VENVS:-$PWD/venvs}
bin=${BIN:-$PWD/target/release}
fix=${FIX:-$PWD/mklfix.so}
blas=${BLAS:-/usr/lib/x86_64-linux-gnu/libopenblas.so.0}
export PYTHONDONTWRITEBYTECODE=1
declare -A model=([A]=layer768 [B]=stories110m [C]=stories15m)

# The last line of what a peer prints, or a line that says that it failed.
go() { timeout 400 "$@" 2>/dev/null | tail -1 || echo "failed: $*"; }
with_fix() { LD_PRELOAD=$fix PEER_SUFFIX=+mklfix go "$@"; }

for _ in $(seq "${3:-3}"); do
    for w in ${1:-A B C}; do
        for t in ${2:-2}; do
            go "$ours" bench step --model "${model[$w]}" --threads "$t" --line
            for math in int16 bf16; do
                go "$ours" bench step --model "${model[$w]}" --threads "$t" --math $math --line
            done
            if [ -x "$venvs/torch/bin/python" ]; then
                torch=("$venvs/torch/bin/python" peer_torch.py "$w" --threads "$t")
                go "${torch[@]}"
                for dtype in fp32 bf16; do with_fix "${torch[@]}" --dtype $dtype --compile; done
            fi
            [ -x "$venvs/jax/bin/python" ] && go "$venvs/jax/bin/python" peer_jax.py "$w" --threads "$t"
            # As shipped for Linux, MLX multiplies with a reference BLAS.
            [ -x "$venvs/mlx/bin/python" ] && [ -f "$blas" ] &&
                LD_PRELOAD=$blas OPENBLAS_CORETYPE=SKYLAKEX PEER_SUFFIX=+openblas \
                    go "$venvs/mlx/bin/python" peer_mlx.py "$w" --threads "$t"
            for peer in candle burn; do
                [ -x "$bin/peer-$peer" ] && go "$bin/peer-$peer" "$w" --threads "$t"
            done
        done
    done
done
