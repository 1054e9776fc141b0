"""Inspections survive the disk, and damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran.config import RANConfig
from napari_ran.errors import InputError, OutputError
from napari_ran.introspect import Inspection, NetworkTrace, attribute, attribute_output


@pytest.fixture(scope="module")
def saved(registered: Callable[..., ran.Registration], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The saved result of the mode "field", with levels."""
    return registered("field").save(tmp_path_factory.mktemp("saved") / "result")


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "result"))


def check_equal(one: Inspection, other: Inspection) -> None:
    assert (one.stages, one.directions, one.name) == (other.stages, other.directions, other.name)
    for direction in one.directions:
        for stage in one.stages:
            names = one.available(stage.index, direction)
            assert names == other.available(stage.index, direction)
            for name in names:
                a, b = (found.get(name, stage.index, direction) for found in (one, other))
                assert a.grid == b.grid
                assert a.unit == b.unit
                exact = name not in ("features", "attributes")  # these are stored in half precision
                torch.testing.assert_close(a.data, b.data, atol=0 if exact else 1e-3, rtol=0 if exact else 1e-3)
            if names:
                a, b = (found.metrics(stage.index, direction) for found in (one, other))
                assert a.tre_mm == pytest.approx(b.tre_mm, abs=1e-9)
                assert replace(a, tre_mm=None) == replace(b, tre_mm=None)


@pytest.mark.parametrize("mode", ["none", "field", "network", "looks"])
def test_a_saved_result_is_inspected_like_the_live_one(
    mode: str,
    registered: Callable[..., ran.Registration],
    looked: Callable[..., ran.Registration],
    tmp_path: Path,
) -> None:
    result = looked("field") if mode == "looks" else registered(mode)
    live = Inspection.from_registration(result)
    folder = result.save(tmp_path / "result")
    for place in (folder, folder / "levels"):
        loaded = Inspection.load(place)
        assert loaded.note == ""
        check_equal(live, loaded)
    assert (loaded.before is None) == (live.before is None)
    if live.before is not None and loaded.before is not None:
        check_equal(live.before, loaded.before)
    for trace in (live.trace, loaded.trace):
        assert trace is not None
    assert loaded.trace.card_name == live.trace.card_name
    assert np.array_equal(loaded.trace.affine, live.trace.affine)
    for name, value in live.trace.model.state_dict().items():
        assert torch.equal(loaded.trace.model.state_dict()[name], value)
    assert loaded.labels[0].names == live.labels[0].names


def test_levels_of_the_first_version_of_the_format_are_read(copied: Path) -> None:
    index = copied / "levels" / "levels.json"
    values = json.loads(index.read_text())
    del values["refined_by"]
    index.write_text(json.dumps(values | {"version": 1}))
    assert [stage.kind for stage in Inspection.load(copied).stages] == [*["level"] * 5, "output", "instance"]


def test_a_loaded_trace_is_attributed_alike(registered: Callable[..., ran.Registration], saved: Path) -> None:
    live, loaded = registered("field").trace, Inspection.load(saved).trace
    for level in (0, 3, 4):
        voxels = torch.tensor([[0, 0, 0], [2, 1, 2], [3, 3, 3]])
        one, other = (attribute(trace, level, voxels) for trace in (live, loaded))
        assert torch.allclose(one.residual, other.residual, atol=1e-5)
        assert torch.allclose(other.total, other.field, rtol=1e-4, atol=1e-5)
    output = attribute_output(loaded, voxels)
    assert torch.allclose(output.total, output.field, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_network_without_confidence_and_feedback(
    ndim: Any, make_trace: Callable[..., NetworkTrace], tmp_path: Path
) -> None:
    config = RANConfig.preset("RAN0", ndim).replace(confidence=False, feedback=False)
    live = Inspection.from_trace(make_trace(config, ran.Grid.from_spacing((18, 20, 9)[:ndim], 1.5), both=False), "one")
    loaded = Inspection.load(live.save(tmp_path / "one"))
    assert loaded.directions == ("forward",)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["levels"]
    assert loaded.available(1) == live.available(1)
    assert torch.equal(loaded.get("field", 4).data, live.get("field", 4).data)


def test_the_settings_of_the_run_and_the_origin_are_written(saved: Path) -> None:
    index = json.loads((saved / "levels" / "levels.json").read_text())
    assert index["version"] == 2
    assert index["written_by"] == f"napari-ran {ran.__version__}"
    assert index["weights"] == "general-3d"
    assert RANConfig(**index["config"]) == Inspection.load(saved).trace.model.config
    assert ran.Grid(**index["grid"]) == Inspection.load(saved).trace.grid


def test_saving_again_replaces_the_levels_and_a_result_without_removes_them(
    registered: Callable[..., ran.Registration], tmp_path: Path
) -> None:
    folder = registered("network").save(tmp_path / "result")
    (folder / "notes.txt").write_text("mine")
    assert (folder / "levels" / "before-level-0.safetensors").exists()
    registered("field").save(folder)
    assert not (folder / "levels" / "before-level-0.safetensors").exists()
    assert Inspection.load(folder).before is None
    registered("field", keep_levels=False).save(folder)
    assert not (folder / "levels").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_a_failure_in_the_middle_leaves_the_old_levels(
    registered: Callable[..., ran.Registration], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_ran.introspect.storage.save_file", full)
    inspection = Inspection.from_registration(registered("network"))
    for save in (registered("network").save, inspection.save):
        with pytest.raises(OutputError, match="No space left on device"):
            save(copied)
    assert Inspection.load(copied).stages[-1].kind == "instance"
    assert [path.name for path in copied.parent.iterdir()] == ["result"]


def test_a_result_without_levels_still_shows_its_field(
    registered: Callable[..., ran.Registration], tmp_path: Path
) -> None:
    result = registered("field", keep_levels=False)
    inspection = Inspection.load(result.save(tmp_path / "result"))
    assert "keep_levels=True" in inspection.note
    assert inspection.available(0) == ("field", "warped", "jacobian")
    assert torch.allclose(inspection.get("field", 0).data, result.field.tensor, atol=1e-4)
    assert "Not both images" in inspection.why_not("difference", 0)
    (tmp_path / "result" / "field.h5").unlink()
    again = Inspection.load(tmp_path / "result")
    assert torch.allclose(again.get("field", 0).data, result.field.tensor, atol=1e-4)


def test_an_inspected_field_is_saved_with_its_images(phantom: Any, tmp_path: Path) -> None:
    live = Inspection.from_field(phantom.truth, phantom.fixed, phantom.moving)
    loaded = Inspection.load(live.save(tmp_path / "field"))
    assert loaded.available(0) == live.available(0)
    assert torch.allclose(loaded.get("difference", 0).data, live.get("difference", 0).data, atol=1e-3)


def test_a_field_file_of_another_tool(phantom: Any, tmp_path: Path) -> None:
    from napari_ran.io import save_field

    for name in ("warp.h5", "disp_1.nii.gz"):
        inspection = Inspection.load(save_field(phantom.truth, tmp_path / name))
        assert "without the levels" in inspection.note
        assert inspection.name == name
        assert inspection.available(0) == ("field", "jacobian")
        assert torch.allclose(inspection.get("field", 0).data, phantom.truth.tensor, atol=1e-4)


def test_a_folder_of_ones_own_called_levels_is_left_alone(
    registered: Callable[..., ran.Registration], tmp_path: Path
) -> None:
    (tmp_path / "result" / "levels").mkdir(parents=True)
    (tmp_path / "result" / "levels" / "notes.txt").write_text("mine")
    registered("field", keep_levels=False).save(tmp_path / "result")
    assert (tmp_path / "result" / "levels" / "notes.txt").read_text() == "mine"


def test_old_levels_come_back_when_the_last_step_fails(
    registered: Callable[..., ran.Registration], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from os import replace as rename

    def refuse(source: Path, target: Path) -> None:
        if Path(target).name == "field.h5":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr("napari_ran.io.folders.os.replace", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        registered("none", keep_levels=False).save(copied)
    assert Inspection.load(copied).stages[-1].kind == "instance"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def of_another_model(folder: Path) -> None:
    from napari_ran.io.checkpoints import ModelCard, save_weights
    from napari_ran.models import create_model

    card = ModelCard(name="other", preset="RAN0", ndim=3)
    save_weights(create_model("RAN0"), folder / "weights.safetensors", card)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "levels.json").unlink(), "levels.json is missing"),
        (lambda f: (f / "levels.json").write_text("{half"), "levels.json: the file cannot be read"),
        (lambda f: (f / "levels.json").write_bytes(b"\xff\xfe\x00"), "levels.json: the file cannot be read"),
        (lambda f: (f / "levels.json").write_text("[1]"), "the file does not describe levels"),
        (lambda f: change(f / "levels.json", version=3), "the levels are in version 3 of the format"),
        (lambda f: change(f / "levels.json", affine=[[1, 0], [0, 1]]), "its parts do not fit together"),
        (lambda f: change(f / "levels.json", affine="x"), "its parts do not fit together"),
        (lambda f: change(f / "levels.json", grid={"shape": [4, 4, 4]}), "its parts do not fit together"),
        (lambda f: change(f / "levels.json", label_names=[1]), "its parts do not fit together"),
        (lambda f: (f / "level-2.safetensors").unlink(), "level-2.safetensors: the file cannot be read (No such file"),
        (lambda f: cut(f / "level-4.safetensors"), "level-4.safetensors: the file cannot be read"),
        (lambda f: cut(f / "network.safetensors"), "network.safetensors: the file cannot be read"),
        (lambda f: cut(f / "weights.safetensors"), "weights.safetensors: the network cannot be read"),
        (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors: the network cannot be read"),
        (of_another_model, "safetensors: the level is of another model"),
        (
            lambda f: shutil.copy(f / "level-0.safetensors", f / "level-1.safetensors"),
            "the level is of another model: 'previous_confidence' is missing",
        ),
        (
            lambda f: shutil.copy(f / "level-1.safetensors", f / "level-0.safetensors"),
            "the level is of another model: 'previous_confidence' is unknown to it",
        ),
    ],
)
def test_damage_is_one_clear_error(spoil: Callable[[Path], Any], message: str, copied: Path) -> None:
    spoil(copied / "levels")
    with pytest.raises(InputError) as caught:
        Inspection.load(copied)
    assert message in str(caught.value)
    assert str(caught.value).endswith(
        "Register the pair again with keep_levels=True and save the result with this version."
    )
    assert "\n" not in str(caught.value)


def test_a_folder_with_nothing_to_inspect(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are neither levels nor a field in this folder"):
        Inspection.load(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        Inspection.load(tmp_path / "nowhere")
    (tmp_path / "field.h5").write_text("no field")
    with pytest.raises(InputError, match=r"field\.h5: the file cannot be read"):
        Inspection.load(tmp_path)
