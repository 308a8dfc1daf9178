#!/usr/bin/env bash
# Serves a model with vLLM's own server for sampler=server:
#
#   sbatch [--nodes=N] [--gpus-per-node=G] slurm/serve.sh [--urls=FILE] [--spread=replicas|ray|mp] MODEL [OPTIONS of vllm serve]
#   bash slurm/serve.sh MODEL [OPTIONS]    on this machine, without Slurm
#
#   --urls=FILE    where the servers' URLs are written, one a line, once they are healthy; gone when they end. Jobs read it by
#                  sampler.urls=@FILE. Default: outputs/servers
#   --spread       replicas: one server on each node (data parallel; a job keeps a trace on the one that has it cached). ray, mp: one model
#                  over all nodes, by a Ray cluster or by vLLM's own processes; with G GPUs a node it is split G ways and into N stages
#
# MODEL is a folder or hub id; it is served by its last part's name. What is between MODEL and the end goes to vllm serve and wins over what
# is set here. The servers want the key in PRUNER_API_KEY, if that is set. PRUNER_SERVE_HOST replaces a node's name in its URL.
#
#SBATCH --job-name=pruner-serve
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --output=outputs/serve-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -euo pipefail

say() { echo "$(date '+%F %T') serve: $*" >&2; }
refuse() {
  echo "serve: $1" >&2
  exit 2
}

# sbatch runs a copy of this script from its spool folder; then the folder that it was submitted from is meant.
here=$(dirname "${BASH_SOURCE[0]}")/..
[ -f "$here/slurm/setup.sh" ] || here=${SLURM_SUBMIT_DIR:-$here}
cd "$here"
[ -f slurm/setup.sh ] || refuse "submit from the project's folder (sbatch slurm/serve.sh)"

urls=outputs/servers spread=replicas parts=""
while [ $# -gt 0 ]; do
  case "$1" in
    --urls=?*) urls=${1#--urls=} ;;
    --spread=replicas | --spread=ray | --spread=mp) spread=${1#--spread=} ;;
    --node=?*) parts=${1#--node=} ;; # of this script's own, on each node: the folder where it says its URL
    *) break ;;
  esac
  shift
done
model=${1:-}
case "$model" in
  "") refuse "expected a model: slurm/serve.sh [--urls=FILE] [--spread=replicas|ray|mp] MODEL [OPTIONS of vllm serve]" ;;
  -*) refuse "got $model, expected --urls=FILE, --spread=replicas|ray|mp or a model. Options of vllm serve go behind the model" ;;
esac
shift
for each in "$@"; do
  case "$each" in
    --port | --port=* | --host | --host=* | --ssl-* | --headless) refuse "got $each, which this script sets or cannot serve" ;;
  esac
done
node=${SLURMD_NODENAME:-$(hostname)}
host=${PRUNER_SERVE_HOST:-${SLURMD_NODENAME:-127.0.0.1}}
nodes=${SLURM_JOB_NUM_NODES:-1}
if [ -n "${PRUNER_SERVE_HOST:-}" ] && [ "$nodes" -gt 1 ] && [ "$spread" = replicas ]; then
  refuse "PRUNER_SERVE_HOST: got one name for $nodes servers; unset it"
fi

child="" stopped=""
# shellcheck disable=SC2317  # called by traps
stop() {
  stopped=$1
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
for name in TERM INT HUP USR1; do
  # shellcheck disable=SC2064  # the name of now is meant
  trap "stop $name" "$name"
done

# However this script ends, it leaves nothing behind.
# shellcheck disable=SC2317  # called by a trap
leave() {
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap leave EXIT

# Takes a process for the child; a signal that came before is handed on.
adopt() {
  child=$1
  [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null || true
}

# Waits for the child, also when a signal interrupts that; sets `code`.
await() {
  code=0
  wait "$child" || code=$?
  while kill -0 "$child" 2>/dev/null; do
    code=0
    wait "$child" || code=$?
  done
  child=""
}

if [ -z "$parts" ]; then
  bash slurm/setup.sh || exit $?
  [ -z "$stopped" ] || exit 0
fi
python=${PRUNER_ENV:-.venv}
[ ! -d "$python" ] || python=$python/bin/python
export HF_HUB_OFFLINE=${HF_HUB_OFFLINE:-1} VLLM_NO_USAGE_STATS=1 VLLM_LOGGING_LEVEL=${VLLM_LOGGING_LEVEL:-WARNING}
# The key is in the environment and never an argument, which every user of the node could read.
[ -z "${PRUNER_API_KEY:-}" ] || export VLLM_API_KEY=$PRUNER_API_KEY

gpus=0
if command -v nvidia-smi >/dev/null 2>&1; then gpus=$(nvidia-smi -L 2>/dev/null | grep --count '^GPU' || true); fi
has() { # whether an option is among the user's own
  local each option=$1
  shift
  for each in "$@"; do [ "${each%%=*}" != "$option" ] || return 0; done
  return 1
}
# Jobs on other nodes are to reach it; without Slurm, only those on this machine.
listen=127.0.0.1
[ -z "${SLURM_JOB_ID:-}" ] || listen=0.0.0.0
options=("--host=$listen" --scheduling-policy=priority --enable-prefix-caching --enable-prompt-tokens-details --disable-uvicorn-access-log)
has --served-model-name "$@" || options+=("--served-model-name=$(basename "$model")")
if [ "$gpus" = 0 ]; then
  # A seeded request that is prefilled in parts crashes the CPU engine: prompts are always read whole.
  options+=(--dtype=float32 --enforce-eager --block-size=32 --no-enable-chunked-prefill)
  has --max-model-len "$@" || options+=(--max-model-len=2048 --max-num-batched-tokens=2048)
  export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-2}
else
  has --tensor-parallel-size "$@" || options+=("--tensor-parallel-size=$gpus")
  [ "$spread" = replicas ] || has --pipeline-parallel-size "$@" || options+=("--pipeline-parallel-size=$nodes")
fi

# Starts a server here and says where it is in a file of this node's, from when it is healthy to when it ends.
serve() {
  local port file=$parts/$node url program=(vllm.entrypoints.cli.main serve "$model")
  # That command asks for a package of vLLM's name, which the CPU build has not; there the same server is started by its module.
  if ! "$python" -c 'from importlib.metadata import version; version("vllm")' 2>/dev/null; then
    program=(vllm.entrypoints.openai.api_server "--model=$model")
  fi
  # A part of a model on another node answers nobody.
  local is_part=""
  if [ "$spread" = mp ] && [ "${SLURM_NODEID:-0}" != 0 ]; then is_part=1 program+=(--headless); fi
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
  url=http://$host:$port
  say "starting vLLM with $model on $node, port $port"
  # A session of its own, so that everything that vLLM starts can be ended with it.
  setsid "$python" -m "${program[@]}" "--port=$port" "${options[@]}" "$@" &
  local server=$!
  adopt "$server"
  while [ -z "$is_part" ] && ! "$python" - "$url" <<'PY'; do
import sys, urllib.request
try:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    sys.exit(direct.open(sys.argv[1] + "/health", timeout=5).status != 200)
except OSError:
    sys.exit(1)
PY
    if [ -n "$stopped" ] || ! kill -0 "$server" 2>/dev/null; then break; fi
    sleep 1
  done
  if [ -z "$stopped" ] && [ -z "$is_part" ] && kill -0 "$server" 2>/dev/null; then
    say "healthy: $url"
    { echo "$url" >"$parts/.new-$node" && mv "$parts/.new-$node" "$file"; } || say "cannot write $file"
  fi
  await
  rm -f "$file"
  touch "$parts/.ended-$node" || true
  kill -KILL -- "-$server" 2>/dev/null || true
  [ -n "$stopped" ] || say "the server on $node ended with code $code"
}

if [ -n "$parts" ]; then
  serve "$@"
  exit "$code"
fi

if [ "$spread" != replicas ] && [ "$nodes" -lt 2 ]; then
  refuse "--spread=$spread: got one node. Ask for more (sbatch --nodes=N), or leave it out"
fi
# Where the nodes say their URLs; it must be on a file system that they share.
parts=.cache/serve/${SLURM_JOB_ID:-$$}
rm -rf "$parts"
mkdir -p "$(dirname "$urls")" "$parts"
rm -f "$urls"
case "$spread" in
  replicas)
    if [ "$nodes" = 1 ]; then
      bash slurm/serve.sh "--node=$parts" "$model" "$@" &
    else
      srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=0 bash slurm/serve.sh "--node=$parts" "$model" "$@" &
    fi
    wanted=$nodes
    ;;
  *)
    mapfile -t names < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    head=${names[0]}
    if [ "$spread" = ray ]; then
      ray=$(dirname "$python")/ray
      [ -x "$ray" ] || ray=ray
      command -v "$ray" >/dev/null || refuse "--spread=ray: Ray is not installed. Run: $python -m pip install 'ray[default]', or use --spread=mp"
      # vLLM looks for nodes by their addresses, so Ray is told these and not names. This script runs on the first node.
      ip=${VLLM_HOST_IP:-$(hostname -I | cut -d' ' -f1)}
      export VLLM_HOST_IP=$ip RAY_ADDRESS=$ip:6379
      srun --nodes=1 --ntasks=1 --overlap --nodelist="$head" "$ray" start --head --block "--node-ip-address=$ip" --port=6379 &
      sleep 10 &
      wait $! || true
      for name in "${names[@]:1}"; do
        # shellcheck disable=SC2016  # the shell on each node is to put them in
        srun --nodes=1 --ntasks=1 --overlap --nodelist="$name" bash -c '
          export VLLM_HOST_IP=$(hostname -I | cut -d" " -f1)
          exec "$1" start --block "--address=$2" "--node-ip-address=$VLLM_HOST_IP"' ray "$ray" "$RAY_ADDRESS" &
      done
      bash slurm/serve.sh "--node=$parts" --spread=ray "$model" --distributed-executor-backend=ray "$@" &
    else
      # Every node has a part of the model; those but the first answer nobody.
      # shellcheck disable=SC2016  # the shell on each node is to put them in
      srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c '
        more=(--nnodes="$SLURM_NNODES" --node-rank="$SLURM_NODEID" --master-addr="$1")
        exec bash slurm/serve.sh "--node=$2" --spread=mp "$3" "${@:4}" "${more[@]}"' serve "$head" "$parts" "$model" "$@" &
    fi
    wanted=1
    ;;
esac
adopt $!

# Puts the nodes' files together: first when all are there, so that jobs know how many there are, then whenever one comes or goes.
main=$child before="" are_there="" new=$urls.${SLURM_JOB_ID:-$$}
while kill -0 "$main" 2>/dev/null; do
  now=$(cat "$parts"/* 2>/dev/null | sort || true)
  there=$(grep --count . <<<"$now" || true)
  ended=$(find "$parts" -name '.ended-*' 2>/dev/null | grep --count . || true)
  # A node whose server could not start keeps the others from nothing.
  if [ "$there" -gt 0 ] && [ "$((there + ended))" -ge "$wanted" ]; then are_there=1; fi
  if [ -n "$are_there" ] && { [ "$now" != "$before" ] || [ ! -f "$urls" ]; }; then
    if printf '%s\n' "$now" | sed '/^$/d' >"$new" && mv "$new" "$urls"; then
      [ "$now" = "$before" ] || say "$there of $wanted healthy; sampler=server sampler.urls=@$urls"
      before=$now
    else
      say "cannot write $urls"
    fi
  elif [ -z "$are_there" ] && [ "$((SECONDS % 300))" = 299 ]; then
    say "$there of $wanted healthy after $((SECONDS / 60)) min; the others are waited for"
  fi
  sleep 1 &
  wait $! || true
done
await
# Another job may have written the file since.
[ "$(cat "$urls" 2>/dev/null)" != "$before" ] || rm -f "$urls"
rm -rf "$parts"
if [ "$stopped" = USR1 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  say "time limit near: job $SLURM_JOB_ID goes back into the queue"
  scontrol requeue "$SLURM_JOB_ID" || true
fi
[ -n "$stopped" ] && exit 0
exit "$code"
