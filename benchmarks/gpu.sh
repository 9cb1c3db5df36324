#!/usr/bin/env bash
# What only a machine with a CUDA device can show, in at most ten minutes. In an environment with reasonrl installed
# (`pip install -e '.[test,trl]'`, and vLLM where that is to be measured too):
#
#   benchmarks/gpu.sh [FOLDER]
#
# Each part has a limit in seconds and writes FOLDER/NAME.log. The summary at the end names every part: passed, failed,
# not done within its limit, or left out, because the ten minutes (LIMIT_S) are over or something is not installed.
#
#   DEVICE=cpu benchmarks/gpu.sh    # the same parts on a machine without a GPU, where they can run there
#   DRY_RUN=1 benchmarks/gpu.sh     # prints the commands
set -uo pipefail
cd "$(dirname "$0")/.." || exit
out=$(realpath -m "${1:-gpu-results}")
device=${DEVICE:-cuda}
dry=${DRY_RUN:-}
deadline=$((SECONDS + ${LIMIT_S:-590}))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8} PYTHONUNBUFFERED=1
[[ $device == cpu ]] || export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0} # the tests hide GPUs otherwise
summary=() failures=0

# part NAME SECONDS COMMAND...: what it prints must match the pattern `expected`, where that is set.
part() {
    local name=$1 limit=$2 began=$SECONDS code state=passed
    shift 2
    if [[ $dry ]]; then
        echo "$name: $*"
        return
    fi
    limit=$((limit < deadline - SECONDS ? limit : deadline - SECONDS))
    if ((limit < 10)); then
        left_out "$name" "no time is left"
        return
    fi
    echo "== $name ($limit s): $*"
    timeout --kill-after=10 "$limit" "$@" 2>&1 | tee "$out/$name.log"
    code=${PIPESTATUS[0]}
    case $code in
        0) [[ ! ${expected:-} ]] || grep -q "$expected" "$out/$name.log" || code=1 state="FAILED: it did not print '$expected'" ;;
        124 | 137) state="FAILED: not done within $limit s" ;;
        *) state="FAILED: exit code $code" ;;
    esac
    ((code == 0)) || failures=$((failures + 1))
    summary+=("$(printf '%-18s %4d s  %s' "$name" $((SECONDS - began)) "$state")")
}

left_out() {
    summary+=("$(printf '%-18s         left out: %s' "$1" "$2")")
}

# has PACKAGE PART: whether a package is installed; the part is left out where it is not.
has() {
    [[ $dry ]] || python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)" ||
        { left_out "$2" "$1 is not installed" && false; }
}

train=(train quickstart --plain --overwrite "run.root=$out/runs" "model.device=$device")
short=(run.steps=4 evaluation.suites=[])
sharded=(learner.parallel.strategy=fsdp2 "${short[@]}")
step=(python benchmarks/gpu_step.py)
paths=(python benchmarks/gpu_paths.py)
if [[ $device == cpu ]]; then
    step+=(--device cpu --tiny)
    paths+=(--device cpu --tiny)
fi

if [[ ! $dry ]]; then
    mkdir -p "$out"
    [[ $device == cpu ]] || nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader |
        tee "$out/machine.log"
fi
expected='the two ways agree'
part paths 120 "${paths[@]}"
expected=
has trl step && part step 150 "${step[@]}"
expected='(fsdp2)' # else one process may have learned without shards
part fsdp2-torchrun 60 torchrun --standalone --nproc-per-node 1 -m reasonrl "${train[@]}" name=fsdp2-torchrun "${sharded[@]}"
part fsdp2-processes 60 reasonrl "${train[@]}" --processes 1 name=fsdp2-processes "${sharded[@]}"
expected=
part quickstart 120 reasonrl "${train[@]}" name=quickstart
if [[ $device != cpu ]]; then
    part conformance 90 pytest -q -m gpu tests/test_shards_of_one.py tests/test_engine_conformance.py
fi
# vLLM in the learner's process gives its memory away while the learner learns, and wakes up again for the next step.
has vllm vllm-sleep && part vllm-sleep 150 reasonrl "${train[@]}" name=vllm-sleep rollout.engine=vllm "${short[@]}"

[[ $dry ]] || printf '%s\n' '' "${summary[@]}" | tee "$out/summary.txt"
((failures == 0))
