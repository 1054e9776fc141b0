"""What is published: built, checked, and installed where nothing of the source is, then opened entry by entry."""

from __future__ import annotations

import email
import fnmatch
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
ADDRESS = "https://example.org/somebody/napari-ran"
if not (ROOT / ".git").exists():
    pytest.skip("tests run outside the repository", allow_module_level=True)
for needed in ("build", "hatchling", "twine"):
    pytest.importorskip(needed)


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command away from the source, and return what it printed; the test fails with that if the command does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The source release and the wheel that is made from it, by their kind."""
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    run(*command, cwd=folder, NAPARI_RAN_REPOSITORY_URL=ADDRESS, NAPARI_RAN_SITE_URL="")
    return {"source": next(folder.glob("*.tar.gz")), "wheel": next(folder.glob("*.whl"))}


@pytest.fixture(scope="session")
def metadata(built: Mapping[str, Path]) -> Message:
    """What the index learns from the wheel."""
    with zipfile.ZipFile(built["wheel"]) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_string(wheel.read(name).decode("utf-8"))


@pytest.fixture(scope="session")
def bare(built: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel and what it depends on, and no way to the source.

    The dependencies are links to those of the environment that runs the tests: installing them takes minutes.
    """
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    (folder / "dependencies").mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            own = entry.name.lower().replace("-", "_").lstrip("_").startswith(("napari_ran", "editable___napari_ran"))
            if not own and entry.suffix != ".pth":  # those lead elsewhere, to the source among others
                (folder / "dependencies" / entry.name).symlink_to(entry)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text(f"{folder / 'dependencies'}\n", encoding="utf-8")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, built["wheel"], cwd=folder)
    return python


@pytest.mark.slow
def test_the_index_will_take_them(built: Mapping[str, Path]) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.values(), cwd=built["wheel"].parent)


@pytest.mark.slow
def test_the_source_release_is_what_is_under_version_control(built: Mapping[str, Path]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = project["tool"]["check-manifest"]["ignore"]
    kept = set(run("git", "-c", "core.quotePath=off", "ls-files", cwd=ROOT).splitlines())
    with tarfile.open(built["source"]) as source:
        packed = {name.partition("/")[2] for name in source.getnames()}
    missing = {name for name in kept - packed if not any(fnmatch.fnmatch(name, pattern) for pattern in left_out)}
    assert missing == set(), "these are under version control and not in the source release"
    assert packed - kept == {"PKG-INFO"}, "these are not under version control"


@pytest.mark.slow
def test_the_page_of_the_index_stands_on_its_own(metadata: Message) -> None:
    page = str(metadata.get_payload())
    targets = re.findall(r"\]\(([^)\s]+)", page)
    assert [target for target in targets if not target.startswith("https://")] == []
    version = metadata["Version"]
    ours = [target.removeprefix(ADDRESS) for target in targets if target.startswith(ADDRESS)]
    assert [target for target in ours if "levels" in target and "/raw/" in target] == [
        f"/raw/v{version}/docs/images/readme/levels.png"
    ]
    for target in ours:  # every picture and page is in the repository at that place
        assert (ROOT / re.sub(r"^/(raw|blob)/v[^/]+/", "", target)).is_file(), target


@pytest.mark.slow
def test_the_hub_finds_what_it_shows(metadata: Message) -> None:
    assert "Framework :: napari" in metadata.get_all("Classifier", [])
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert 30 < len(metadata["Summary"]) < 120
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL", []))
    assert set(urls) == {"Homepage", "Source", "Issues", "Changelog", "Documentation"}
    assert all(url.startswith(ADDRESS) for url in urls.values())


@pytest.mark.slow
def test_the_wheel_alone_gives_everything_in_its_manifest(bare: Path, tmp_path: Path) -> None:
    """In a viewer: each widget from each menu, sample, reader, writer and theme. No network is needed or used."""
    pytest.importorskip("napari")
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    home = {"XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    threads = {"OMP_NUM_THREADS": "1", "NAPARI_RAN_MEMORY": ""}
    if os.environ.get("DISPLAY"):
        threads["QT_QPA_PLATFORM"] = "xcb"  # Qt's offscreen platform has no OpenGL
    printed = run(bare, SCRIPTS / "open_everything.py", "--offline", cwd=tmp_path, **nowhere, **home, **threads)
    first, *lines, last = printed.splitlines()
    assert first.startswith("napari-ran ")
    assert str(bare.parents[1]) in first, "it was not the wheel's"
    kinds = [line.split()[0] for line in lines]
    assert {"widget", "sample", "reader", "writer"} <= set(kinds)
    assert last.startswith(f"{len(kinds)} things")
