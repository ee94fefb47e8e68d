#!/usr/bin/env bash
# Training on a SLURM cluster: one task on each machine, torchrun starts one process for each of its GPUs.
#
#   sbatch configs/accelerate/slurm.sh --config configs/quickstart.yaml --output-dir /shared/runs/quickstart
#
# Written, not run on a cluster (tests run it on one machine with stand-ins for srun and scontrol). Adapt the lines
# marked CHANGE. Whatever stands after the script's name goes to launch/train.py.
#
# A job that reaches its time limit gets SIGTERM two minutes before, finishes its step, saves, exits, and is queued
# again by the last lines; --resume auto goes on from its newest whole checkpoint, with bit-identical results.
#SBATCH --job-name=selfsup3d
#SBATCH --nodes=2                # CHANGE: machines
#SBATCH --ntasks-per-node=1      # torchrun starts the rest
#SBATCH --gpus-per-node=8        # CHANGE: GPUs of each machine
#SBATCH --cpus-per-task=64       # CHANGE: CPUs of each machine, for the data workers
#SBATCH --time=24:00:00          # CHANGE
#SBATCH --signal=B:TERM@120      # to this script, seconds before the end
#SBATCH --requeue                # after a machine that failed
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail

# CHANGE: what makes `python` the one that the project is installed for
# source /shared/selfsup3d/.venv/bin/activate

# sbatch runs a copy of this file: the project is where the job was submitted from.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}"

nodes="${SLURM_JOB_NUM_NODES:-1}"
gpus="${SLURM_GPUS_ON_NODE:-${PROCESSES:-1}}"
first="$(scontrol show hostnames "${SLURM_JOB_NODELIST:-}" 2>/dev/null | head -n 1 || true)"
port=$((20000 + ${SLURM_JOB_ID:-0} % 20000))

launch=()
command -v srun >/dev/null && launch=(srun --kill-on-bad-exit=1)

"${launch[@]}" python -m torch.distributed.run \
    --nnodes "$nodes" --nproc_per_node "$gpus" \
    --rdzv_id "${SLURM_JOB_ID:-0}" --rdzv_backend c10d --rdzv_endpoint "${first:-127.0.0.1}:$port" \
    launch/train.py --resume auto "$@" &
training=$!

# srun and torchrun pass SIGTERM on; torchrun gives its processes 30 seconds to finish their step and save.
stopping=
trap 'stopping=yes; kill -TERM "$training"' TERM
code=0
wait "$training" || code=$?
if [[ -n "$stopping" ]]; then # the wait above was cut short by the signal
    code=0
    wait "$training" || code=$?
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
