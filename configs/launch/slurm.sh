#!/bin/bash
# One process a node, all GPUs of the node in it: sbatch configs/launch/slurm.sh paper /scratch/runs/paper
# RUN must lie on a file system that all nodes share. A node that is lost ends the step; Slurm queues the job again,
# and the same command goes on from the last checkpoint.
#SBATCH --job-name=bonemet
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120

set -euo pipefail
config=${1:?"give CONFIG RUN"}
run=${2:?"give CONFIG RUN"}

# jax would give each task one GPU, the one of its number on the node.
export JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-32}
code=0
srun --kill-on-bad-exit=0 bonemet run "$config" -o "$run" --distributed auto --device gpu || code=$?
# srun gives the highest code of all tasks. 75: a process was lost; 137, 253: it was killed, or ran out of memory;
# 143: asked to end, as before the time limit. All others say what must be mended first.
if [[ "$code" =~ ^(75|137|143|253)$ ]] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
