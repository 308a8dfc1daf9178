#!/usr/bin/env bash
# The main job: `sbatch slurm/run.sh [OVERRIDES]`, or `bash slurm/run.sh [OVERRIDES]` without Slurm.
# Every argument is a Hydra override of conf/config.yaml, e.g. method=cons budget=32 problems.path=my.parquet
# Options of sbatch go before the script and win over these: sbatch --array=0-15 --gpus=1 --partition=... slurm/run.sh ...
#
#SBATCH --job-name=pruner
#SBATCH --array=0
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --output=outputs/slurm-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -euo pipefail

# A signal to bash alone (Slurm's B:) reaches the job too; a trap ends `wait`, so what waits does so again.
child="" stopped="" near_limit=""
# shellcheck disable=SC2317  # called by traps
stop() {
  stopped=1
  [ "$1" != USR1 ] || near_limit=1
  [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null || true
}
for name in TERM INT USR1 HUP; do
  # shellcheck disable=SC2064  # the name of now is meant
  trap "stop $name" "$name"
done

# Runs a command, forwards signals to it, and sets `code`. What bash starts behind `&` would ignore Ctrl-C.
run() {
  (
    trap - INT
    exec "$@"
  ) &
  child=$!
  code=0
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  # A signal may have ended the last wait just as the command ended; bash still knows the command's own code, most times.
  local again=0
  wait "$child" 2>/dev/null || again=$?
  if [ "$again" -ge 0 ] && [ "$again" != 127 ]; then code=$again; fi
  child=""
  # Stopped before it could answer signals: as resumable as later.
  if [ -n "$stopped" ] && [ "$code" -ge 128 ]; then code=75; fi
}

# Ends the script. Near the time limit, what can be resumed goes back into the queue; what is preempted, Slurm puts there
# itself, and what a user cancels stays cancelled.
finish() {
  if [ "$1" = 75 ] && [ -n "$near_limit" ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    task=$SLURM_JOB_ID
    [ -z "${SLURM_ARRAY_TASK_ID:-}" ] || task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    # Said before: the request may end this script.
    echo "$(date '+%F %T') job $task goes back into the queue" >&2
    scontrol requeue "$task" || true
  fi
  exit "$1"
}

# sbatch runs a copy of this script from its spool folder; then the folder that it was submitted from is meant.
here=$(dirname "${BASH_SOURCE[0]}")/..
[ -f "$here/slurm/setup.sh" ] || here=${SLURM_SUBMIT_DIR:-$here}
cd "$here"
if [ ! -f slurm/setup.sh ]; then
  echo "run: submit from the project's folder (sbatch slurm/run.sh)" >&2
  exit 2
fi
run bash slurm/setup.sh
[ "$code" = 0 ] || finish "$code"
[ -z "$stopped" ] || finish 75

# The environment that is used: .venv, or the one that PRUNER_ENV names.
python=${PRUNER_ENV:-.venv}
[ ! -d "$python" ] || python=$python/bin/python

overrides=()
case " $* " in
  *" model="*) ;;
  *) if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then overrides+=(model=deepseek_8b); fi ;;
esac
has_shard=0
case " $* " in *" shard.count="*) has_shard=1 ;; esac
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ] && [ "$has_shard" = 1 ]; then
  overrides+=("shard.index=$SLURM_ARRAY_TASK_ID")
elif [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  # shellcheck disable=SC2153  # Slurm sets them
  index=$(((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN) / ${SLURM_ARRAY_TASK_STEP:-1}))
  last=$(((SLURM_ARRAY_TASK_MAX - SLURM_ARRAY_TASK_MIN) / ${SLURM_ARRAY_TASK_STEP:-1}))
  if [ "$last" -ne "$((SLURM_ARRAY_TASK_COUNT - 1))" ]; then
    echo "run: got an array with holes, expected --array=0-N. To redo some shards of N, give shard.count=N." >&2
    exit 2
  fi
  overrides+=("shard.index=$index" "shard.count=$SLURM_ARRAY_TASK_COUNT")
fi

# Hydra takes overrides in one piece only, so the flag of a sweep goes before them.
sweep=() given=()
for argument in "$@"; do
  case "$argument" in
    -m | --multirun) sweep=(--multirun) ;;
    *) given+=("$argument") ;;
  esac
done

# Nothing is downloaded for a model in a folder; for a hub id, set HF_HUB_OFFLINE=0.
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1}

# What torch warns of when an engine starts is no news to a user; set it to INFO to see it.
export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR}

run "$python" -m jobs.run "${sweep[@]}" "${overrides[@]}" "${given[@]}"
finish "$code"
