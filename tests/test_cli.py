from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_ran as ran
from napari_ran import cli, terminal
from napari_ran.cli import main
from napari_ran.evaluate import Report
from napari_ran.options import configured, describe

QUICK = ["--weights", "none", "--affine", "none", "--device", "cpu", "--set", "instance.steps=12"]
FILES = {"warped.nii.gz", "field.h5", "inverse_field.h5", "disp.nii.gz", "report.json", "settings.yaml", "summary.png"}


def blob(shape: tuple[int, ...], offset: float) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij")
    inside = sum((x - offset * (i == 0)) ** 2 for i, x in enumerate(axes)) < (0.3 * min(shape)) ** 2
    return inside.astype(np.int16)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Two files: a ball, and the ball two voxels further, with labels and landmarks beside them."""
    shape, affine = (24, 20, 16), np.diag([1.5, 1.5, 2.0, 1.0])
    rng = np.random.default_rng(0)
    for name, offset in (("fixed", 0.0), ("moving", 2.0)):
        labels = blob(shape, offset)
        image = 100 * labels + rng.normal(0, 3, shape)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(labels, affine), tmp_path / f"{name}_labels.nii.gz")
        points = np.array([[11.5 + offset, 9.5, 7.5], [13 + offset, 9, 7]]) * [1.5, 1.5, 2.0]
        np.savetxt(tmp_path / f"{name}.csv", points, delimiter=",", header="x,y,z", comments="")
    return str(tmp_path / "fixed.nii.gz"), str(tmp_path / "moving.nii.gz")


def settings_of(*options: str) -> ran.RegistrationConfig:
    arguments = cli._parser().parse_args(["register", "a", "b", "-o", "c", *options])
    return configured(arguments)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run, expect a refusal, and return what was said: one sentence, nothing on standard output."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return " ".join(err.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"napari-ran {ran.__version__}"


def test_every_setting_has_an_option_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["register", "--help"])
    text = capsys.readouterr().out
    for name in ran.RegistrationConfig.model_fields:
        assert f"--{name.replace('_', '-')}" in text
        assert describe(ran.RegistrationConfig, name), f"{name} is not described in the config's docstring"
    for name in ran.InstanceConfig.model_fields:
        assert name in text
        assert describe(ran.InstanceConfig, name), f"{name} is not described in the config's docstring"


def test_without_options_the_settings_are_the_defaults() -> None:
    assert settings_of() == ran.RegistrationConfig()


def test_options_reach_the_settings() -> None:
    config = settings_of(
        "--preset", "RAN4+", "--affine", "rigid", "--spacing", "2.5", "--instance", "network", "--similarity", "mind",
        "--keep-levels", "--device", "cpu", "--intensity", "mri", "--network-voxels", "5000",
    )  # fmt: skip
    expected = ran.RegistrationConfig(
        preset="RAN4+", affine="rigid", spacing=2.5, keep_levels=True, device="cpu", intensity="mri",
        network_voxels=5000, instance=ran.InstanceConfig(mode="network", similarity="mind"),
    )  # fmt: skip
    assert config == expected


def test_options_win_over_the_file_and_leave_the_rest_of_it(tmp_path: Path) -> None:
    saved = ran.RegistrationConfig(affine="rigid", spacing=3.0, instance={"mode": "network", "similarity": "mse"})
    saved.to_yaml(tmp_path / "settings.yaml")
    path = str(tmp_path / "settings.yaml")
    assert settings_of("--config", path) == saved
    changed = settings_of(
        "--config", path, "--affine", "none", "--set", "instance.similarity=ncc", "--set", "spacing=1.5"
    )
    assert changed == saved.replace(affine="none", spacing=1.5, instance={"similarity": "ncc"})
    assert changed.instance.mode == "network"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "instence.mode=none"], "instence: unknown key of RegistrationConfig. Did you mean 'instance'?"),
        (["--set", "instance.similarty=ncc"], "Did you mean 'similarity'?"),
        (["--set", "affine"], "expected KEY=VALUE, got 'affine'"),
        (["--spacing", "-1"], "spacing: input should be greater than 0, got -1"),
        (["--spacing", "[1"], "spacing: input should be a valid number"),
        (["--preset", "RAN7"], "preset: there is no preset 'RAN7'. Did you mean 'RAN"),
        (["--config", "/no/such/settings.yaml"], "cannot read"),
        (["--device", "cuda:99"], "cuda:99"),
    ],
)
def test_bad_settings_are_refused_by_name(
    options: list[str], message: str, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "register", *pair, "-o", str(tmp_path / "out"), *options)
    assert not (tmp_path / "out").exists()


def test_bad_files_are_refused_by_name(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert "moving: " in refused(capsys, "register", pair[0], str(tmp_path / "none.nii.gz"), "-o", out)
    truncated = tmp_path / "truncated.nii.gz"
    truncated.write_bytes(Path(pair[0]).read_bytes()[:500])
    assert "fixed: " in refused(capsys, "register", str(truncated), pair[1], "-o", out)
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.int16), np.eye(4)), tmp_path / "other.nii.gz")
    message = refused(capsys, "register", *pair, "-o", out, "--fixed-labels", str(tmp_path / "other.nii.gz"))
    assert "fixed_labels: the labels lie on a grid of (9, 9, 9)" in message
    (tmp_path / "far.csv").write_text("x,y,z\n500,0,0\n1,1,1\n")
    far = str(tmp_path / "far.csv")
    message = refused(capsys, "register", *pair, "-o", out, "--fixed-landmarks", far, "--moving-landmarks", far)
    assert "1 of 2 points lie outside the image" in message
    assert not Path(out).exists()


def test_an_output_that_is_a_file_is_refused_before_the_work(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a file" in refused(capsys, "register", *pair, "-o", pair[0])


def test_debug_shows_where(pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["register", *pair, "-o", str(tmp_path / "out"), "--set", "x=1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_and_another_code(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "follow", lambda run, quiet: 1 / 0)
    assert main(["register", *pair, "-o", str(tmp_path / "out"), *QUICK]) == 1
    err = " ".join(capsys.readouterr().err.split())
    assert err == "ZeroDivisionError: division by zero (run again with --debug to see where)"


def test_register_writes_the_results_and_prints_the_table(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deep" / "out"
    extras = [
        f"--{side}-{name}={tmp_path / side}{ending}"
        for side in ("fixed", "moving")
        for name, ending in (("labels", "_labels.nii.gz"), ("landmarks", ".csv"))
    ]
    assert main(["register", *pair, "-o", str(folder), *QUICK, *extras]) == 0
    out = capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == FILES | {"warped_labels.nii.gz", "warped_landmarks.csv"}
    assert all(
        text in out for text in ("before", "after", "Dice, mean", "TRE, mean of 2 landmarks", "Folding", "Saved in")
    )
    report = Report.from_json(folder / "report.json")
    assert report.complete
    assert report.dice_mean_before is not None
    assert report.dice_mean_after is not None
    assert report.dice_mean_after > report.dice_mean_before + 0.05
    assert nib.load(folder / "warped.nii.gz").shape == (24, 20, 16)
    again = tmp_path / "again"
    assert main(["register", *pair, "-o", str(again), "--config", str(folder / "settings.yaml"), "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == ("", "")
    first, second = (nib.load(place / "warped.nii.gz").get_fdata() for place in (folder, again))
    assert np.allclose(first, second, atol=1e-3)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    """Press Ctrl-C at a step of a stage."""
    real = terminal.Progress.update

    def update(self, task, **values):
        real(self, task, **values)
        described = next(t.description for t in self.tasks if t.id == task)
        if described == stage and values["completed"] >= step:
            raise KeyboardInterrupt

    monkeypatch.setattr(terminal.Progress, "update", update)


def test_ctrl_c_keeps_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(monkeypatch, "instance", 3)
    folder = tmp_path / "out"
    assert main(["register", *pair, "-o", str(folder), *QUICK]) == 130
    assert {path.name for path in folder.iterdir()} == FILES
    assert json.loads((folder / "report.json").read_text())["complete"] is False
    assert "best registration so far is in" in capsys.readouterr().err


def test_ctrl_c_before_anything_was_found_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(monkeypatch, "preprocess", 0)
    assert main(["register", *pair, "-o", str(tmp_path / "out"), *QUICK]) == 130
    assert not (tmp_path / "out").exists()
    assert "nothing was written" in capsys.readouterr().err


def test_models_lists_the_bundled_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    cards = ran.available_weights()
    assert cards
    assert all(card.name in out for card in cards)


def test_demo_scores_against_the_exact_motion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ran.sliding_phantom(seed=1, shape=(40, 32, 28))
    monkeypatch.setattr(ran, "sliding_phantom", lambda seed: small, raising=False)
    folder = tmp_path / "demo"
    assert main(["demo", "-o", str(folder), "--no-viewer", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "End-point error in the organs" in out
    assert "Slip recovered at sliding boundaries" in out
    assert FILES | {"fixed.nii.gz", "moving.nii.gz"} <= {path.name for path in folder.iterdir()}


@pytest.mark.slow
def test_the_demo_itself_meets_its_promise(tmp_path: Path) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo"), "--no-viewer", "--quiet"]) == 0
    report = Report.from_json(tmp_path / "demo" / "report.json")
    assert report.dice_mean_after is not None
    assert report.dice_mean_after > 0.9
    assert report.folding_percent is not None
    assert report.folding_percent < 0.1


def test_the_viewer_is_opened_on_the_results_where_there_is_a_screen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(terminal.subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setattr(terminal.sys, "platform", "linux")
    for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(variable, raising=False)
    assert not terminal.open_viewer([tmp_path / "fixed.nii.gz"])
    assert "No screen" in capsys.readouterr().err
    monkeypatch.setenv("DISPLAY", ":0")
    assert terminal.open_viewer([tmp_path / "fixed.nii.gz"])
    assert started[0][1:4] == ["-m", "napari", str(tmp_path / "fixed.nii.gz")]
    monkeypatch.setattr(terminal.importlib.util, "find_spec", lambda name: None)
    assert not terminal.open_viewer([tmp_path / "fixed.nii.gz"])
    assert 'pip install "napari-ran[all]"' in capsys.readouterr().err
    assert len(started) == 1


@pytest.mark.usefixtures("quick_report")
def test_inspect_writes_a_page_of_a_result_that_kept_its_levels(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, out = str(tmp_path / "result"), tmp_path / "page"
    quick = ["--affine", "none", "--device", "cpu", "--instance", "none", "--keep-levels", "--quiet"]
    assert main(["register", *pair, "-o", result, *quick]) == 0
    assert main(["inspect", result, "-o", str(out), "--formats", "none"]) == 0
    assert str(out / "index.html") in capsys.readouterr().out.replace("\n", "")
    assert "Settings" in (out / "index.html").read_text(encoding="utf-8")
    assert not (out / "arrays").exists()
    message = refused(capsys, "inspect", result, "-o", str(tmp_path / "other"), "--formats", "npz,tiff")
    assert "unknown: tiff" in message
    level = tmp_path / "result" / "levels" / "level-2.safetensors"
    level.write_bytes(level.read_bytes()[:100])
    assert "level-2" in refused(capsys, "inspect", result, "-o", str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_ctrl_c_while_the_page_is_written_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, inspectable_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, pages = str(inspectable_folder), tmp_path / "pages"
    pages.mkdir()
    monkeypatch.setattr(terminal.Progress, "update", lambda *_, **values: 1 / (values["completed"] < 2))
    assert main(["inspect", result, "-o", str(pages / "out")]) == 1
    assert list(pages.iterdir()) == []

    def stop(*_: object, **values: int) -> None:
        if values["completed"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(terminal.Progress, "update", stop)
    assert main(["inspect", result, "-o", str(pages / "out")]) == 130
    assert list(pages.iterdir()) == []
    assert "nothing was written" in capsys.readouterr().err


@pytest.mark.usefixtures("quick_report")
def test_inspect_says_what_a_result_without_levels_lacks(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = str(tmp_path / "result")
    assert main(["register", *pair, "-o", result, *QUICK, "--quiet"]) == 0
    assert main(["inspect", result, "-o", str(tmp_path / "page")]) == 0
    assert "keep_levels=True" in capsys.readouterr().out
    assert "There is no network." in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "no network to ablate" in refused(capsys, "inspect", result, "-o", str(tmp_path / "x"), "--ablation")
    assert "there is no such folder" in refused(capsys, "inspect", str(tmp_path / "no"), "-o", str(tmp_path / "x"))


def test_a_plan_is_printed_and_nothing_is_run(
    pair: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["register", *pair, "-o", str(out), "--plan", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "needs (GiB)" in printed
    assert "Memory: about" in printed
    assert "transform" in printed
    assert not out.exists()
    assert main(["register", *pair, "--plan", *QUICK]) == 0  # which needs no place for results
    capsys.readouterr()
    assert "--output: is missing" in refused(capsys, "register", *pair)
