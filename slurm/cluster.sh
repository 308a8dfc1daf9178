#!/usr/bin/env bash
# A throw-away Slurm cluster on this one machine, for tests and demonstrations. Needs root and Debian's slurm-wlm and munge.
#
#   eval "$(bash slurm/cluster.sh up)"     start it; prints `export SLURM_CONF=...`, which sbatch and squeue need
#   bash slurm/cluster.sh status           what runs on it
#   bash slurm/cluster.sh down             stop it with everything on it, and remove every file of it
#
# Partitions: `scavenge` (the default; preempted and requeued: TERM, and 60 s later KILL) and `urgent` (preempts). Two fake GPUs: --gpus=1 sets
# CUDA_VISIBLE_DEVICES, there is nothing behind them. It has its own folder, ports, key and daemons, and touches no other
# Slurm. PRUNER_CLUSTER names the folder, PRUNER_CLUSTER_CPUS how many CPUs to pretend to have.
set -euo pipefail

folder=${PRUNER_CLUSTER:-/tmp/pruner-cluster}
export SLURM_CONF=$folder/slurm.conf
daemons=(slurmd slurmctld munged)

fail() {
  echo "cluster: $1" >&2
  exit "${2:-2}"
}

# Whether a daemon of this cluster runs; by its own pid file, so that no other is ever meant.
alive() {
  local pid
  pid=$(cat "$folder/$1.pid" 2>/dev/null) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && echo "$pid"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

write_config() {
  local host cpus memory
  host=$(hostname -s)
  # Slurm is told of more than there may be, so that run.sh's defaults fit twice: nothing here is enforced.
  cpus=${PRUNER_CLUSTER_CPUS:-$(($(nproc) > 8 ? $(nproc) : 8))}
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  [ "$memory" -ge 65536 ] || memory=65536
  cat >"$folder/slurm.conf" <<CONF
ClusterName=pruner
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=60
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=scavenge Nodes=$host Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF
  printf 'Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n' >"$folder/gres.conf"
}

up() {
  [ "$(id -u)" = 0 ] || fail "needs root, for Slurm's daemons start jobs as their users."
  for program in munged slurmctld slurmd; do
    command -v "$program" >/dev/null || fail "$program is not installed. On Debian: apt-get install slurm-wlm munge"
  done
  if [ -e "$folder" ]; then
    if alive slurmctld >/dev/null; then fail "$folder: a cluster is up there. Take it down first, or set PRUNER_CLUSTER."; fi
    [ -f "$folder/slurm.conf" ] || fail "$folder: is there and no cluster's. Set PRUNER_CLUSTER."
    down
  fi
  mkdir -p "$folder/state" "$folder/spool"
  chmod 755 "$folder"
  write_config
  (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
  trap 'tail -n 20 "$folder"/*.log >&2; down' ERR
  munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" >/dev/null
  slurmctld -f "$SLURM_CONF" >/dev/null
  slurmd -f "$SLURM_CONF" >/dev/null
  for _ in $(seq 60); do
    if [ "$(sinfo -h -p scavenge -t idle -o %D 2>/dev/null)" = 1 ]; then
      trap - ERR
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.5
  done
  false
}

down() {
  [ -f "$folder/slurm.conf" ] || fail "$folder: no cluster there." 0
  if alive slurmctld >/dev/null; then
    timeout 20 scancel --state=PENDING --quiet -u "$(id -un)" 2>/dev/null || true
    timeout 20 scancel --quiet -u "$(id -un)" 2>/dev/null || true
    for _ in $(seq 60); do
      [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || break
      sleep 0.5
    done
  fi
  for daemon in "${daemons[@]}"; do
    pid=$(alive "$daemon") || continue
    kill "$pid"
    for _ in $(seq 100); do
      alive "$daemon" >/dev/null || break
      sleep 0.1
    done
    if pid=$(alive "$daemon"); then kill -9 "$pid"; fi
  done
  rm -rf "$folder"
}

status() {
  [ -f "$folder/slurm.conf" ] || fail "$folder: no cluster there." 1
  for daemon in "${daemons[@]}"; do
    if pid=$(alive "$daemon"); then echo "$daemon: pid $pid"; else echo "$daemon: not running"; fi
  done
  sinfo
  squeue
}

case "${1:-}" in
  up | down | status) "$1" ;;
  *) fail "got '${1:-}', expected up, down or status." ;;
esac
