from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

npe2 = pytest.importorskip("npe2")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def manifest() -> npe2.PluginManifest:
    return npe2.PluginManifest.from_distribution("napari-ran")


def test_the_installed_package_has_the_manifest(manifest: npe2.PluginManifest) -> None:
    assert manifest.name == "napari-ran"
    assert str(manifest.visibility) == "public"
    assert len(manifest.display_name) > 3


def test_the_root_file_is_a_link_to_the_packaged_one() -> None:
    root = ROOT / "napari.yaml"
    if not root.exists():
        pytest.skip("tests run outside the repository")
    assert root.resolve() == ROOT / "src" / "napari_ran" / "napari.yaml"


def test_npe2_finds_nothing_to_complain_about() -> None:
    source = ROOT / "src" / "napari_ran" / "napari.yaml"
    command = [sys.executable, "-m", "npe2", "validate", str(source)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_can_be_imported(manifest: npe2.PluginManifest) -> None:
    manifest.validate_imports()


def test_the_widgets_are_in_both_menus(manifest: npe2.PluginManifest) -> None:
    contributions = manifest.contributions
    widgets = [
        "napari-ran.register",
        "napari-ran.inspect",
        "napari-ran.train",
        "napari-ran.compare",
        "napari-ran.apply",
        "napari-ran.cohort",
    ]
    assert [widget.command for widget in contributions.widgets] == widgets
    listed = [item.command for item in contributions.menus["napari/layers/register"]]
    assert listed == widgets


def test_the_icon_is_in_the_package(manifest: npe2.PluginManifest) -> None:
    package, _, resource = manifest.icon.partition(":")
    assert (ROOT / "src" / package / resource).read_text().startswith("<svg")


def test_samples_and_their_commands(manifest: npe2.PluginManifest) -> None:
    keys = [sample.key for sample in manifest.contributions.sample_data]
    assert keys[:2] == ["sliding-phantom", "phantom-2d"]
    commands = {command.id for command in manifest.contributions.commands}
    assert {sample.command for sample in manifest.contributions.sample_data} <= commands
