#!/usr/bin/env bash
# What only a machine with a CUDA device can show. Run it from the repository's root, in a fresh virtual environment:
#
#   python3 -m venv .venv && . .venv/bin/activate
#   pip install -e '.[dev,vllm]'
#   benchmarks/gpu.sh [FOLDER]
#
# Each part writes FOLDER/NAME.log; a part that fails is named at the end and does not stop the others.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}
mkdir -p "$out"
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # the tests hide GPUs otherwise
failed=()

part() {
    local name=$1
    shift
    echo "== $name: $*"
    if ! "$@" 2>&1 | tee "$out/$name.log"; then
        failed+=("$name")
    fi
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$out/machine.log"
part conformance-embedded pytest -m gpu
part conformance-vllm pytest -m vllm
part quickstart reasonrl train quickstart --plain run.root="$out/runs"
part quickstart-vllm reasonrl train quickstart --plain run.root="$out/runs" name=quickstart-vllm rollout.engine=vllm
part fetch-smollm2 reasonrl models get smollm2-135m-instruct
part smollm2 reasonrl train smollm2-arithmetic --plain run.root="$out/runs"
part smollm2-vllm reasonrl train smollm2-arithmetic --plain run.root="$out/runs" name=smollm2-vllm rollout.engine=vllm
# The engines on the same problems; answers differ by ties of rounding alone.
for engine in local vllm vllm_server; do
    part "eval-$engine" reasonrl eval smollm2-135m-instruct --suite addition_two_digit --engine "$engine" --out "$out/$engine"
done
part compare-engines reasonrl compare "$out"/{local,vllm,vllm_server}/smollm2-135m-instruct/addition_two_digit
part doctor reasonrl doctor quickstart rollout.engine=vllm

if ((${#failed[@]})); then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all parts passed; figures are in $out"
