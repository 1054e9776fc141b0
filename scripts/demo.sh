#!/usr/bin/env bash
# Set everything up and register the embedded sample: bash scripts/demo.sh [options of napari-ran demo]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" # waiting threads must not spin where the cores are shared

parts=()
if [[ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" || "$(uname)" == Darwin ]]; then
  parts=(viewer) # without a screen the viewer is not needed
fi
bash scripts/setup.sh "${parts[@]}"
exec .venv/bin/napari-ran demo "$@"
