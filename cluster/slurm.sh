#!/usr/bin/env bash
# A sweep in one Slurm allocation: Ray's head on the first node, workers on the others, the sweep, and a cleanup.
#
# Change: the partition, the number of nodes, CPUs, GPUs and hours below (or give them to sbatch). The folder that this
# is submitted from must be on a file system that all nodes share, with the environment of scripts/setup in .venv;
# HAMU_VENV selects another environment.
#
# Start   sbatch cluster/slurm.sh search_spaces/cifar.yaml [--set key=value ...]
# Monitor tail -f hamu-ray-JOBID.log; ssh -L 8265:127.0.0.1:PORT NODE for the dashboard, both named in that log
# Stop    scancel --batch --signal=TERM JOBID: the sweep stops as after Ctrl-C, with its front; scancel JOBID stops it
#         immediately. To resume, also after the time limit: sbatch cluster/slurm.sh SPACE.yaml --resume. With
#         --resume auto, a job that Slurm requeues continues its sweep.
#SBATCH --job-name=hamu-ray
#SBATCH --output=hamu-ray-%j.log
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
set -euo pipefail

if (($# == 0)); then
    echo 'usage: sbatch cluster/slurm.sh SPACE.yaml [--set key=value ...]' >&2
    exit 2
fi
: "${SLURM_JOB_ID:?not in a Slurm job; submit it: sbatch cluster/slurm.sh SPACE.yaml}"
cd -- "$SLURM_SUBMIT_DIR"
export HAMU_RAY_STORAGE=${HAMU_RAY_STORAGE:-$PWD/runs} # also of jobs that are submitted to this cluster
export RAY_JOB_STOP_WAIT_TIME_S=120                    # of such jobs: a stopped sweep writes its results
export PATH="${HAMU_VENV:-$PWD/.venv}/bin:$PATH" RAY_USAGE_STATS_ENABLED=0
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # at the end there is nothing to wait for

# The job's own token, in a folder that only its owner can read and every node sees.
umask 077
private=$(mktemp -d "$PWD/.hamu-ray-$SLURM_JOB_ID-XXXXXX")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$private/token
python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH"

# The job's own ports and temporary files, because several jobs may share a node.
port=$((20000 + SLURM_JOB_ID % 2000 * 10))
temporary=${TMPDIR:-/tmp}/hamu-ray-$SLURM_JOB_ID
common=(--block --temp-dir "$temporary" --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}"
    --dashboard-agent-listen-port $((port + 3)))

steps=() driver=''
# shellcheck disable=SC2329 # called by the traps
clean_up() {
    trap - EXIT
    if [[ -n $driver ]]; then kill -TERM "$driver" 2>/dev/null || true; fi
    if ((${#steps[@]})); then kill -TERM "${steps[@]}" 2>/dev/null || true; fi
    wait || true
    rm -rf -- "$private"
    srun --overlap --ntasks-per-node=1 rm -rf -- "$temporary" || true
}
trap clean_up EXIT
# shellcheck disable=SC2329
interrupt() { if [[ -n $driver ]]; then kill -TERM "$driver"; else exit 130; fi; }
trap interrupt TERM INT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address)
address=${address%% *}:$port

echo "Ray's head is $head; its dashboard is port $((port + 1)) there, for those with the token"
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" ray start --head --port "$port" \
    --dashboard-host 127.0.0.1 --dashboard-port $((port + 1)) --ray-client-server-port $((port + 2)) "${common[@]}" &
steps+=($!)
tries=60
until ray status --address "$address" >/dev/null 2>&1; do
    if ((--tries == 0)) || ! kill -0 "${steps[0]}" 2>/dev/null; then
        echo "Ray's head did not start on $head" >&2
        exit 1
    fi
    sleep 2
done
if ((${#nodes[@]} > 1)); then
    srun --overlap --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="$head" \
        ray start --address "$address" "${common[@]}" &
    steps+=($!)
fi

RAY_ADDRESS=$address python -m hamu_ray.tune "$@" &
driver=$!
# A signal ends `wait` before the sweep has ended: wait again for its own exit code.
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2>/dev/null; do
    code=0
    wait "$driver" || code=$?
done
driver=''
exit "$code"
