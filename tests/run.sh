#!/usr/bin/env bash
# Sets up like slurm/run.sh and runs every check and test. Arguments go to pytest: bash tests/run.sh tests/unit -k vote
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash slurm/setup.sh dev
export HF_HUB_OFFLINE=1
if [ $# -eq 0 ]; then
  .venv/bin/ruff format --check .
  .venv/bin/ruff check .
  .venv/bin/mypy
fi
exec .venv/bin/python -m pytest "$@"
