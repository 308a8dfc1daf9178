#!/usr/bin/env bash
# Sets up like slurm/run.sh, then checks and tests.
#
#   bash tests/run.sh              everything: format, lint, types, scripts and all tests
#   bash tests/run.sh quick        before a commit: the same checks and the unit tests; no engine, no cluster, no browser
#   bash tests/run.sh ARGUMENTS    pytest with these arguments, e.g. tests/unit -k vote
#
# What follows `quick` goes to pytest too. pytest's summary comes last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash slurm/setup.sh dev
export HF_HUB_OFFLINE=1

check() {
  .venv/bin/ruff format --check .
  .venv/bin/ruff check .
  .venv/bin/mypy
  if command -v shellcheck >/dev/null; then shellcheck slurm/*.sh tests/*.sh .ci/run; fi
}

# A real Slurm for tests/slurm, a browser for tests/browser, and what checks the scripts. Without root, these tests are skipped
# and say so.
install_programs() {
  local program missing=()
  for program in slurmctld slurmd sbatch munged shellcheck chromium chromedriver; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "tests: installing Debian's slurm-wlm, munge, shellcheck and chromium" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends slurm-wlm munge shellcheck \
      chromium chromium-driver fonts-dejavu-core >/dev/null
  fi
}

if [ "${1:-}" = quick ]; then
  shift
  check
  exec .venv/bin/python -m pytest tests/unit -p no:cacheprovider -n auto "$@"
fi
install_programs
if [ $# -gt 0 ]; then exec .venv/bin/python -m pytest "$@"; fi
check

# Everything without an engine first, three at a time: much of it waits. Then the engines, one at a time: each uses all cores.
# The order is tests/conftest.py's, and reordering would put the long ones behind others.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
live_code=0 rest_code=0
.venv/bin/python -m pytest -m "not live" -p no:cacheprovider -n 3 --dist loadgroup --no-loadscope-reorder 2>&1 |
  tee "$logs/rest" || rest_code=$?
.venv/bin/python -m pytest -m live -p no:cacheprovider 2>&1 | tee "$logs/live" || live_code=$?

# Both summaries last, first the one without failures.
echo
for log in $([ "$rest_code" = 0 ] && echo rest live || echo live rest); do
  grep -E '^(FAILED|ERROR) |^=+ .* in [0-9].* =+$' "$logs/$log" || true
done
exit $((live_code > rest_code ? live_code : rest_code))
