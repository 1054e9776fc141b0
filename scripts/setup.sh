#!/usr/bin/env bash
# Make .venv ready: bash scripts/setup.sh [viewer] [dev]
#   (nothing)  the package, for registering from Python and the command line
#   viewer     napari and Qt as well, with the system libraries that Qt needs
#   dev        the tools that the tests, checks and documentation need
#   libraries  the system libraries alone, for a CI that brings its own Python
# Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

QT_LIBRARIES=(libegl1 libgl1 libgl1-mesa-dri libglib2.0-0 libfontconfig1 fonts-dejavu-core libdbus-1-3 libxkbcommon-x11-0
  libx11-xcb1 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
  libxcb-xkb1)
SCREENLESS=(xvfb xauth)

say() { printf '\n== %s\n' "$*"; }

system_packages() {
  local missing=()
  for package in "$@"; do
    [[ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" == *"ok installed"* ]] || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return; fi
  if ! command -v apt-get >/dev/null; then
    say "this is not Debian or Ubuntu: please install the equivalents of: ${missing[*]}"
  elif ((EUID == 0)); then
    say "installing system packages: ${missing[*]}"
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    say "these system packages are missing; please run:"
    echo "sudo apt-get update && sudo apt-get install -y ${missing[*]}"
  fi
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [[ -n "$candidate" ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or newer is needed: sudo apt-get install -y python3 python3-venv" >&2
  return 1
}

if [[ "$*" == libraries ]]; then
  system_packages "${QT_LIBRARIES[@]}" "${SCREENLESS[@]}"
  exit
fi

extras=()
groups=()
for part in "$@"; do
  case "$part" in
    viewer)
      extras+=(all)
      system_packages "${QT_LIBRARIES[@]}"
      ;;
    dev)
      extras+=(docs)
      groups=(--group dev)
      system_packages "${SCREENLESS[@]}"
      ;;
    *)
      echo "setup.sh: unknown part '$part' (known: viewer, dev, libraries)" >&2
      exit 2
      ;;
  esac
done

if [[ ! -x .venv/bin/python ]]; then
  say "making .venv"
  python="$(find_python)"
  "$python" -c 'import ensurepip' 2>/dev/null || system_packages python3-venv
  "$python" -m venv .venv
fi

wanted="$(IFS=,; echo "${extras[*]-}")"
stamp=".venv/.installed-${wanted:-core}"
if [[ ! -f "$stamp" || pyproject.toml -nt "$stamp" || constraints.txt -nt "$stamp" ]]; then
  say "installing napari-ran${wanted:+ [$wanted]} into .venv (about 2 GB; minutes the first time)"
  .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
  .venv/bin/python -m pip install --quiet -c constraints.txt -e ".${wanted:+[$wanted]}" "${groups[@]}"
  touch "$stamp"
fi
