#!/usr/bin/env bash
# Lint, types and tests, with the environment whose python is first on the path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ruff check .
ruff format --check .
mypy
# Where the shared data are, the tests that need them must run. One worker a core: a file
# stays on one worker, and threads that wait do not spin.
export OMP_WAIT_POLICY=passive
pytest --numprocesses=auto --dist=loadfile ${PXRDBENCH_TEST_DATA:+--require-data} "$@"
