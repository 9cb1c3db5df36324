#!/usr/bin/env bash
# One host's part in a run over several hosts; started once on each, by whatever starts programs on a cluster:
#
#   HOSTS="node1 node2 node3 node4" LEARNERS=2 SANDBOXES=1 host.sh NUMBER RUN_FILE RUN_DIRECTORY [SETTING...]
#
# The first LEARNERS of HOSTS learn, the last SANDBOXES run programs, and each between them has a vLLM server.
# A run whose directory is there goes on from its last checkpoint, with any numbers of hosts and processes.
#
#   NUMBER         this host's place in HOSTS, from 0
#   RUN_FILE       the run; needs `vllm.weights_folder`, a folder that all hosts see, where there are vLLM servers
#   RUN_DIRECTORY  on a file system that all learners see; its name is the run's
#   SETTING        is given to `reasonrl train`, also when the run goes on: one that may not change then belongs into
#                  the run file
#
# Read from the environment:
#   HOSTS            names or addresses, with white space between, the same on every host; the first has rank 0
#   LEARNERS         hosts that learn, 1 if not given
#   SANDBOXES        hosts that run programs, 0 if not given; their servers are given to the setting SANDBOX_URLS
#   SANDBOX_URLS     such as rewards.0.params.urls
#   PROCESSES        learners on each host, one for each GPU if not given
#   MODEL            what the vLLM servers load: the run's model, under a name or folder that is good on their hosts
#   VLLM_OPTIONS     further options of the vLLM servers, such as "--tensor-parallel-size 2"
#   JOB              tells runs with the same first host apart; "reasonrl" if not given
#   RENDEZVOUS_PORT, VLLM_PORT, SANDBOX_PORT      29500, 8000, 8080 if not given
#   REASONRL_SANDBOX_TOKEN                        the token of the sandbox servers
#   SERVE_UNTIL_LEARNED  where it is 1, servers end when the learners have ended
set -euo pipefail

number=$1 run=$2 directory=$3
shift 3
read -rd '' -a hosts <<<"${HOSTS:?names all hosts}" || true # which says only that there is no more to read
learners=${LEARNERS:-1} sandboxes=${SANDBOXES:-0}
rendezvous_port=${RENDEZVOUS_PORT:-29500} vllm_port=${VLLM_PORT:-8000} sandbox_port=${SANDBOX_PORT:-8080}
first_sandbox=$((${#hosts[@]} - sandboxes))
if ((learners < 1 || learners > first_sandbox)); then
    echo "host.sh: of ${#hosts[@]} hosts (HOSTS), $learners cannot learn (LEARNERS) and $sandboxes run programs (SANDBOXES)" >&2
    exit 2
fi

# urls PORT HOST...: the servers' addresses, as a list in YAML.
urls() {
    local port=$1 list=
    shift
    for host in "$@"; do list+=${list:+, }\"http://$host:$port\"; done
    echo "[$list]"
}

learn() {
    local chosen address device
    if [[ -e $directory/manifest.json ]]; then
        chosen=(--resume "$directory")
    else
        chosen=("$run" "name=$(basename "$directory")" "run.root=$(dirname "$directory")")
    fi
    if ((first_sandbox > learners)); then
        chosen+=("vllm.urls=$(urls "$vllm_port" "${hosts[@]:learners:first_sandbox-learners}")")
    fi
    if ((sandboxes)); then
        chosen+=("${SANDBOX_URLS:?names the setting for the sandbox servers}=$(urls "$sandbox_port" "${hosts[@]:first_sandbox}")")
    fi
    if [[ ! ${GLOO_SOCKET_IFNAME:-} ]] && command -v ip >/dev/null; then
        # gloo would take the device of this host's name, which is that of loopback on many machines.
        address=$(getent ahosts "${hosts[number]}" | awk '{ print $1; exit }')
        device=$(ip -oneline address show to "${address:-none}" 2>/dev/null | awk '{ print $2; exit }')
        [[ ! $device ]] || export GLOO_SOCKET_IFNAME=$device
    fi
    # torch's agents warn of names without a reverse look-up, and where the first host's ends before the others.
    export LOGLEVEL=${LOGLEVEL:-ERROR} TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR}
    exec torchrun --nnodes "$learners" --nproc-per-node "${PROCESSES:-gpu}" --local-addr "${hosts[number]}" \
        --rdzv-backend c10d --rdzv-endpoint "${hosts[0]}:$rendezvous_port" --rdzv-id "${JOB:-reasonrl}" \
        --rdzv-conf "is_host=$((number == 0))" \
        -m reasonrl train "${chosen[@]}" "$@"
}

sample() {
    local options
    read -ra options <<<"${VLLM_OPTIONS:-}"
    VLLM_SERVER_DEV_MODE=1 serve python -P -m vllm.entrypoints.openai.api_server --host 0.0.0.0 --port "$vllm_port" \
        --model "${MODEL:?is what the vLLM servers load}" --generation-config vllm --logprobs-mode processed_logprobs \
        --worker-extension-cls reasonrl.engines.vllm.api.WorkerExtension \
        --weight-transfer-config '{"backend": "file"}' ${options[@]+"${options[@]}"}
}

run_programs() {
    serve reasonrl sandbox serve --host 0.0.0.0 --port "$sandbox_port"
}

# serve COMMAND...: run a server, to its end or to that of the learners.
serve() {
    if [[ ${SERVE_UNTIL_LEARNED:-0} != 1 ]]; then
        exec "$@"
    fi
    local has_begun=0 misses=0
    "$@" &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    while ((misses < 12)); do # a minute: a link may be down for a while
        kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
        if (: <"/dev/tcp/${hosts[0]}/$rendezvous_port") 2>/dev/null; then
            has_begun=1 misses=0
        else
            misses=$((misses + has_begun))
        fi
        sleep 5
    done
}

if ((number < learners)); then
    learn "$@"
elif ((number < first_sandbox)); then
    sample
else
    run_programs
fi
