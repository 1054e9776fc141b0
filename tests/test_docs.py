"""The Python in the README and the documentation runs, page by page, on a small pair of files."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 18, 16)], indexing="ij")
    for name, offset in (("fixed", 0.0), ("moving", 0.12)):
        ball = (axes[0] - offset) ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.4
        image = 100 * ball + np.random.default_rng(0).normal(0, 2, ball.shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([2, 2, 2.5, 1])), f"{name}.nii.gz")
    return tmp_path


@pytest.mark.parametrize(
    "page", [page for page in PAGES if CODE.search(page.read_text(encoding="utf-8"))], ids=lambda p: p.name
)
@pytest.mark.usefixtures("files")
def test_the_code_of_a_page_runs(page: Path) -> None:
    namespace: dict[str, object] = {}
    for block in CODE.findall(page.read_text(encoding="utf-8")):
        exec(compile(block, str(page), "exec"), namespace)


def test_the_pages_link_to_files_that_exist() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_command_line_page_names_every_setting() -> None:
    import napari_ran as ran

    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    missing = [name for name in ran.RegistrationConfig.model_fields if f"--{name.replace('_', '-')}" not in text]
    assert not missing


def test_the_training_page_names_every_setting() -> None:
    from pydantic import BaseModel

    from napari_ran.config import TrainConfig

    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for name, field in TrainConfig.model_fields.items():
        section = field.get_default(call_default_factory=True)
        if isinstance(section, BaseModel):
            part = text.split(f"### {name}\n")[1].split("\n### ")[0]
            assert [key for key in type(section).model_fields if f"| `{key}` |" not in part] == [], name


def test_the_settings_files_on_the_training_page_and_of_the_examples_are_valid(tmp_path: Path) -> None:
    from napari_ran.config import TrainConfig

    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "training.md").read_text(), re.MULTILINE | re.DOTALL)
    files = sorted((ROOT / "examples" / "training").glob("*.yaml"))
    assert blocks
    assert files
    for text in [*blocks, *(file.read_text(encoding="utf-8") for file in files)]:
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        TrainConfig.from_yaml(tmp_path / "config.yaml")
