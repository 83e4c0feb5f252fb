#!/bin/bash
# One process a node, all GPUs of the node in it: sbatch configs/launch/slurm.sh configs/paper.py /scratch/runs/paper
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

code=0
srun --kill-on-bad-exit=0 bonemet run "$config" -o "$run" --distributed auto --device gpu || code=$?
# 75: a process was lost, try again.
if [ "$code" -eq 75 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
