#!/usr/bin/env bash
# Set everything up and run all checks and the whole test suite: bash scripts/test.sh [options of pytest]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" # waiting threads must not spin where the cores are shared

bash scripts/setup.sh viewer dev || exit 1
export PATH="$PWD/.venv/bin:$PATH" QT_API=pyqt6 NO_MKDOCS_2_WARNING=1
unset QT_QPA_PLATFORM # the offscreen platform has no OpenGL; pytest-xvfb brings a screen where there is none

failed=()
check() {
  printf '\n== %s\n' "$*"
  "$@" || failed+=("$*")
}
check ruff check
check ruff format --check
check mypy
check npe2 validate napari-ran
check mkdocs build --quiet --strict

printf '\n== pytest\n'
if ((${#failed[@]})); then
  printf 'FAILED CHECK: %s\n' "${failed[@]}"
fi
if (($#)); then
  python -m pytest "$@" || exit $?
else # side by side, with a thread each; the viewer's tests by themselves, each worker with a screen of its own
  workers="$(python -c 'import os; print(min(4, os.cpu_count() or 1))')"
  viewers="$workers"
  command -v Xvfb >/dev/null || viewers=1 # they would share the real screen, and its focus
  beside=(--dist loadfile --no-loadscope-reorder) # in the order of tests/conftest.py
  export OMP_NUM_THREADS=1
  python -m pytest -n "$workers" "${beside[@]}" --ignore tests/widgets tests || exit $?
  python -m pytest -n "$viewers" "${beside[@]}" tests/widgets || exit $?
fi
((${#failed[@]} == 0))
