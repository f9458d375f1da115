#!/usr/bin/env bash
# Times backpropane beside PyTorch, in turns: run.sh [WORKLOADS] [THREADS] [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")"
ours=../../target/release/backpropane
python=${PYTHON:-venv/bin/python}
fix=${FIX:-$PWD/mklfix.so}
declare -A model=([A]=layer768 [B]=stories110m [C]=stories15m)
threads=${2:-2}
for _ in $(seq "${3:-3}"); do
    for w in ${1:-A B C}; do
        "$ours" bench step --model "${model[$w]}" --threads "$threads" --line
        "$ours" bench step --model "${model[$w]}" --threads "$threads" --math bf16 --line
        "$python" peer_torch.py "$w" --threads "$threads"
        for dtype in fp32 bf16; do
            LD_PRELOAD=$fix PEER_SUFFIX=+mklfix "$python" peer_torch.py "$w" --threads "$threads" --dtype $dtype --compile
        done
    done
done
