"""The report of an inspection says what is there, and why the rest is not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_ran as ran
from napari_ran.data import DisplacementField
from napari_ran.errors import InputError
from napari_ran.introspect import QUANTITIES, Inspection
from napari_ran.io import load_field, load_image
from napari_ran.synthetic.phantom import phantom_2d
from napari_ran.webpage import Page, provenance, report_steps, write_report
from napari_ran.webpage.manifest import KEY, MANIFEST, written_before
from napari_ran.webpage.sections import SECTIONS, _percent

HEADINGS = re.compile(r"<h2[^>]*>([^<]*)</h2>")


@pytest.fixture(scope="module")
def inspection(inspectable: ran.Registration) -> Inspection:
    return Inspection.from_registration(inspectable)


@pytest.fixture(scope="module")
def written(inspectable_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = write_report(
        Inspection.load(inspectable_folder),
        tmp_path_factory.mktemp("report") / "out",
        ablation=True,
        details=provenance(inspectable_folder),
    )
    return page.parent


def test_the_page_has_every_section_with_its_pictures(written: Path, inspection: Inspection) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    assert len(HEADINGS.findall(text)) == len(SECTIONS) + 2  # and ablation and provenance
    assert text.count("data:image/png") >= 7
    for stage in inspection.stages:
        assert f"<td>{stage.title}</td>" in text
    final = inspection.metrics(len(inspection.stages) - 1)
    assert f"<td>{final.mean_mm:.4g}</td>" in text
    assert f"<td>{final.tre_mm:.4g}</td>" in text
    assert "liver" in text
    assert "general-3d" in text
    assert ran.__version__ in text


def test_the_summary_names_the_stage_that_added_most(written: Path, inspection: Inspection) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    added = {s.title: float(inspection.get("increment", s.index).magnitude.mean()) for s in inspection.stages}
    most = max(added, key=lambda title: added[title])
    assert f"Most was added by: {most}." in text
    assert f"landmark error {inspection.metrics(len(inspection.stages) - 1).tre_mm:.2f} mm" in text


def test_tiny_shares_look_like_neither_nothing_nor_a_finding() -> None:
    assert [_percent(share) for share in (0.0, 1e-6, 0.00123, 0.5)] == ["0", "< 0.01", "0.12", "50.00"]


def test_contributions_of_the_points_sum_to_their_displacement(written: Path) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    table = text[text.index("largest relative error of the sum") :].split("</table>")[0]
    errors = [float(row.rsplit("<td>", 1)[1].split("<")[0]) for row in table.split("</tr>")[1:-1]]
    assert len(errors) == 4
    assert max(errors) < 1e-4


def test_arrays_are_those_of_the_inspection(written: Path, inspection: Inspection) -> None:
    for direction in ("forward", "inverse"):
        with np.load(written / "arrays" / f"level-3-{direction}.npz") as level:
            masks = inspection.get("masks", 3, direction)
            np.testing.assert_allclose(level["masks"], masks.numpy(), atol=1e-6)
            np.testing.assert_allclose(level["affine_masks"], masks.grid.affine)
            assert set(inspection.available(3, direction)) == {k for k in level if not k.startswith("affine_")}
    field = load_field(written / "arrays" / "instance-forward" / "disp-field.nii.gz")
    expected = inspection.get("field", len(inspection.stages) - 1)
    np.testing.assert_allclose(field.tensor.numpy(), expected.numpy(), atol=1e-5)
    mask = load_image(written / "arrays" / "level-4-inverse" / "masks-5.nii.gz")
    np.testing.assert_allclose(mask.array, inspection.get("masks", 4, "inverse").numpy()[5], atol=1e-6)
    np.testing.assert_allclose(mask.grid.affine, inspection.get("masks", 4, "inverse").grid.affine, atol=1e-4)


def test_ablation_and_provenance_are_files_too(written: Path) -> None:
    lines = (written / "ablation.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 5 * 6
    details = json.loads((written / "provenance.json").read_text(encoding="utf-8"))
    assert details["Settings"]["keep_levels"] is True
    assert details["Report of the registration"]["version"] == ran.__version__


def test_a_field_of_another_tool_gets_a_page_that_says_what_is_missing(
    inspectable: ran.Registration, tmp_path: Path
) -> None:
    field = DisplacementField(inspectable.field.tensor, inspectable.field.grid)
    inspection = Inspection.from_field(field, inspectable.fixed, inspectable.moving)
    text = write_report(inspection, tmp_path / "out", formats=()).read_text(encoding="utf-8")
    assert inspection.note in text
    assert "There is no network." in text
    assert not (tmp_path / "out" / "arrays").exists()
    with pytest.raises(InputError, match="ablation"):
        write_report(inspection, tmp_path / "other", ablation=True)
    assert not (tmp_path / "other").exists()


def test_a_field_without_images_gets_a_page(inspectable: ran.Registration, tmp_path: Path) -> None:
    text = write_report(Inspection.from_field(inspectable.field), tmp_path / "out", formats=()).read_text(
        encoding="utf-8"
    )
    assert "Not measured" in text


def test_stopping_leaves_nothing_behind(inspectable_folder: Path, tmp_path: Path) -> None:
    steps = report_steps(Inspection.load(inspectable_folder), tmp_path / "out")
    messages = [next(steps).message for _ in range(3)]
    steps.close()
    assert messages == list(SECTIONS)[:3]
    assert list(tmp_path.iterdir()) == []


def test_provenance_names_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert provenance(tmp_path) == {}
    (tmp_path / "report.json").write_text('{"complete": tr', encoding="utf-8")
    (tmp_path / "settings.yaml").write_bytes(b"\xff\xfe: [")
    found = provenance(tmp_path)
    assert found["Report of the registration"] == "report.json cannot be read (TextError)"
    assert found["Settings"].startswith("settings.yaml cannot be read")


def test_an_unknown_format_is_refused(inspectable_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="formats: unknown: tiff"):
        report_steps(Inspection.load(inspectable_folder), tmp_path / "out", formats=["tiff"])  # type: ignore[list-item]


def test_two_dimensions_without_labels(tmp_path: Path) -> None:
    pair = phantom_2d(shape=(48, 40))
    result = ran.register(pair.fixed, pair.moving, affine="none", instance="none", keep_levels=True)
    text = write_report(Inspection.from_registration(result), tmp_path / "out").read_text(encoding="utf-8")
    assert "labels of both images" in text
    assert (tmp_path / "out" / "arrays" / "level-0-forward" / "disp-field.nii.gz").is_file()


def test_both_directions_have_a_table_of_stages(written: Path, inspection: Inspection) -> None:
    text = (written / "index.html").read_text(encoding="utf-8")
    last = len(inspection.stages) - 1
    stages = text[text.index('<h2 id="stages">') : text.index('<h2 id="filmstrip">')]
    assert stages.count("<table>") == 2
    for direction, part in zip(("forward", "inverse"), stages.split("<table>")[1:], strict=True):
        level = inspection.metrics(2, direction)
        assert f"<td>{level.mean_mm:.4g}</td>" in part
        assert f"<td>{level.tre_mm:.4g}</td>" in part
        assert (f"<td>{inspection.stages[last].title}</td>" in part) == (
            not inspection.why_not("field", last, direction)
        )
    assert "On the moving image: the fixed image is pulled to it." in stages


def test_a_stage_that_lacks_a_direction_is_named(inspection: Inspection) -> None:
    without = Inspection.from_trace(replace(inspection.trace, refined_inverse=None))
    page = Page("x")
    SECTIONS["stages"](without, page)
    title = without.stages[-1].title
    assert f"{title} is not in it: this stage kept the forward direction only." in page.html()
    assert page.html().count(f"<td>{title}</td>") == 1


def test_files_say_their_unit(written: Path, inspection: Inspection) -> None:
    stored = nib.load(written / "arrays" / "level-2-forward" / "disp-field.nii.gz")
    assert stored.header["descrip"].item().decode() == "displacement in voxels along the array axes ijk (Learn2Reg)"
    about = (written / "arrays" / "README.txt").read_text(encoding="utf-8")
    assert "displacements IN VOXELS" in about
    for quantity in QUANTITIES.values():
        assert quantity.help in about
    # what it says of millimetres holds
    in_mm = np.linalg.norm(stored.get_fdata() @ stored.affine[:3, :3].T, axis=-1)
    expected = inspection.get("field", 2).magnitude[0]
    np.testing.assert_allclose(in_mm, expected, atol=1e-4)


def test_a_smaller_report_removes_what_the_one_before_wrote_and_only_that(
    inspectable: ran.Registration, tmp_path: Path
) -> None:
    inspection, out = Inspection.from_field(inspectable.field), tmp_path / "out"

    def left() -> set[str]:
        return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}

    write_report(inspection, out, formats=["npz", "nifti"], details={"Settings": {}})
    assert {"arrays/field-forward.npz", "arrays/field-forward/disp-field.nii.gz", "provenance.json"} < left()
    theirs = {"notes.txt", "arrays/mine.npz", "arrays/field-forward/mask.nii.gz"}
    for name in theirs:
        (out / name).write_text("keep me", encoding="utf-8")
    write_report(inspection, out, formats=["npz"])
    assert left() == theirs | {"index.html", MANIFEST, "arrays/field-forward.npz", "arrays/README.txt"}
    (out / "arrays" / "field-forward" / "mask.nii.gz").unlink()
    (out / "arrays" / "field-forward").rmdir()
    write_report(inspection, out, formats=[])
    assert left() == {"notes.txt", "arrays/mine.npz", "index.html", MANIFEST}
    assert all((out / name).read_text(encoding="utf-8") == "keep me" for name in ("notes.txt", "arrays/mine.npz"))


@pytest.mark.parametrize(
    "listed", ["nonsense", "[]", '{"other": []}', f'{{"{KEY}": 3}}', f'{{"{KEY}": [3, "", "../outside", "/abs", "."]}}']
)
def test_a_damaged_or_malicious_list_removes_nothing(tmp_path: Path, listed: str) -> None:
    (tmp_path / "outside").write_text("x", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text(listed, encoding="utf-8")
    assert written_before(out) == []


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("x", encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    (out / "own").write_text("x", encoding="utf-8")
    (out / MANIFEST).write_text(json.dumps({KEY: ["link/file", "own"]}), encoding="utf-8")
    assert written_before(out) == ["own"]
