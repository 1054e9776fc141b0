"""What the README and the documentation tell the reader to do works: page by page, in order, on small files."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tomllib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import napari_ran as ran
from napari_ran import cli
from napari_ran.cohort import ClusterConfig
from napari_ran.config import BenchmarkConfig, TrainConfig
from napari_ran.io import save_surface

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))  # the functions that print what the documentation holds

import docs_blocks  # noqa: E402

PAGES = docs_blocks.pages()


def written(folder: Path) -> None:
    """Write the small files that the pages name into a folder."""
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 18, 16)], indexing="ij")
    affine = np.diag([2, 2, 2.5, 1])
    for name, offset in (("fixed", 0.0), ("moving", 0.12)):
        ball = (axes[0] - offset) ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.4
        image = 100 * ball + np.random.default_rng(0).normal(0, 2, ball.shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), folder / f"{name}_labels.nii.gz")
    shutil.copy(folder / "moving.nii.gz", folder / "pet.nii.gz")
    shutil.copy(folder / "moving_labels.nii.gz", folder / "organs_seg.nii.gz")
    times = np.random.default_rng(0).normal(size=(20, 18, 16, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(times, affine), folder / "fmri_4d.nii.gz")
    (folder / "points.csv").write_text("x,y,z\n18,17,19\n20,16,21\n")
    corners = np.array([[16.0, 16, 18], [20, 16, 18], [16, 20, 18]])
    save_surface(ran.Surface(corners, np.array([[0, 1, 2]])), folder / "liver.stl")
    sitk.WriteTransform(sitk.TranslationTransform(3, (-2.0, 0.0, 0.0)), str(folder / "start.tfm"))
    (folder / "CASES.csv").write_text("fixed,moving\nfixed.nii.gz,moving.nii.gz\n")
    ran.register(folder / "fixed.nii.gz", folder / "moving.nii.gz", instance="none").save(folder / "result")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name; do not write to it."""
    folder = tmp_path_factory.mktemp("named")
    written(folder)
    return folder


@pytest.fixture
def files(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the pages name."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def executable(page: Path) -> bool:
    found = docs_blocks.blocks(page)
    runs = any(not docs_blocks.why_not_run(command) for block in found for command in block.commands)
    return runs or any(block.language == "python" for block in found)


@pytest.mark.parametrize("page", [page for page in PAGES if executable(page)], ids=lambda p: p.name)
@pytest.mark.usefixtures("files", "quick_report")
def test_a_page_runs_from_top_to_bottom(page: Path) -> None:
    """Its Python, its command lines and the files that it says to write, in their order, in one folder."""
    namespace: dict[str, object] = {}
    for block in docs_blocks.blocks(page):
        if block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), namespace)
        elif block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        for command in block.commands:
            if not docs_blocks.why_not_run(command):
                assert cli.main(docs_blocks.shortened(page, command)) == 0, command


COMMANDS = [command for page in PAGES for block in docs_blocks.blocks(page) for command in block.commands]


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_the_parser_knows_every_command_line(command: str) -> None:
    arguments = cli._parser().parse_args(docs_blocks.filled_in(command))
    assert arguments.run


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_that_are_named_in_passing_exist(page: Path) -> None:
    commands = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    for name, options in docs_blocks.mentioned(page):
        assert name in commands
        assert [option for option in options if option not in commands[name]._option_string_actions] == []


def test_no_reason_for_not_running_a_command_is_out_of_date() -> None:
    for pattern in docs_blocks.PARSED:
        assert any(re.search(pattern, command) for command in COMMANDS), pattern
    for ending, (name, *_) in docs_blocks.SHORTENED.items():
        (page,) = (page for page in PAGES if page.as_posix().endswith(ending))
        lines = [line for block in docs_blocks.blocks(page) for line in block.commands]
        assert any(line.startswith(f"napari-ran {name}") for line in lines), ending


def test_other_lines_of_shell_blocks_are_accounted_for() -> None:
    for page in PAGES:
        for line in (line for block in docs_blocks.blocks(page) for line in block.others):
            assert docs_blocks.what_else(line), f"{page.name}: nobody says what becomes of '{line}'"


def test_scripts_and_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for script in re.findall(r"(?:python|bash) ((?:scripts|benchmarks|examples)/[\w/.-]+\w)", text):
            assert (ROOT / script).is_file(), f"{page.name} names {script}"
        for extra in re.findall(r"(?:napari-ran|\.)\[(\w+)\]\"", text):
            assert extra in project["optional-dependencies"], f"{page.name} names the extra {extra}"


LOADERS = {
    "training.md": TrainConfig,
    "fine-tune.md": TrainConfig,
    "benchmark.md": BenchmarkConfig,
    "cohorts.md": ClusterConfig,
}
"""What reads the files of settings on a page."""


@pytest.mark.parametrize(
    "block", [b for page in PAGES for b in docs_blocks.blocks(page) if b.language == "yaml"], ids=lambda b: b.page.name
)
def test_the_settings_files_on_the_pages_are_valid(block: docs_blocks.Block, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(block.text, encoding="utf-8")
    LOADERS[block.page.name].from_yaml(tmp_path / "settings.yaml")


def test_the_settings_files_of_the_examples_are_valid() -> None:
    found = sorted((ROOT / "examples" / "training").glob("*.yaml"))
    assert found
    for file in found:
        TrainConfig.from_yaml(file)


def test_the_command_line_page_names_every_setting() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = [name for name in ran.RegistrationConfig.model_fields if f"--{name.replace('_', '-')}" not in text]
    assert not missing
