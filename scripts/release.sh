#!/usr/bin/env bash
# Build a release and try it out, publishing nothing: the release workflow publishes what this has built and checked.
#   bash scripts/release.sh --dry-run   with the version as it is
#   bash scripts/release.sh v1.2.3      for a tag: it must be the version of the package, of CITATION.cff and of CHANGELOG.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n== %s\n' "$*"; }
fail() { echo "release.sh: $*" >&2 && exit 1; }

[[ $# == 1 ]] || fail "say --dry-run, or the tag"
version="$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/napari_ran/_version.py)"
cited="$(sed -n 's/^version: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' CITATION.cff)"
[[ "$version" == "$cited" ]] || fail "the package says $version, CITATION.cff says $cited"
if [[ "$1" != --dry-run ]]; then
  [[ "$1" == "v$version" ]] || fail "the tag is $1, the package says $version"
  grep -q "^## \[$version\]" CHANGELOG.md || fail "CHANGELOG.md has no section [$version]"
  [[ -z "$(git status --porcelain)" ]] || fail "there are changes that are not committed"
fi

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
python="${PYTHON:-python3}"

say "building napari-ran $version"
"$python" -m venv "$scratch/tools"
"$scratch/tools/bin/pip" install --quiet build check-manifest twine
rm -rf dist
"$scratch/tools/bin/python" -m build --outdir dist .

say "checking what is in it"
"$scratch/tools/bin/check-manifest"
"$scratch/tools/bin/twine" check --strict dist/*

say "installing the wheel into a bare environment"
"$python" -m venv "$scratch/bare"
"$scratch/bare/bin/pip" install --quiet -c constraints.txt dist/*.whl
cd "$scratch" # away from the source, so that the wheel is what is imported
"$scratch/bare/bin/python" - "$version" <<'PYTHON'
import sys
from importlib.metadata import entry_points

import napari_ran

assert "site-packages" in napari_ran.__file__, napari_ran.__file__
assert napari_ran.__version__ == sys.argv[1]
missing = [name for name in napari_ran.__all__ if not hasattr(napari_ran, name)]
assert not missing, missing
assert [card.name for card in napari_ran.available_weights()], "no weights in the wheel"
assert any(entry.name == "napari-ran" for entry in entry_points(group="napari.manifest"))
print(f"{len(napari_ran.__all__)} public names, {len(napari_ran.available_weights())} models, the plugin's manifest")
PYTHON
"$scratch/bare/bin/napari-ran" --version
say "napari-ran $version is ready in dist; nothing was published"
