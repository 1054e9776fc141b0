"""A long day at the viewer: many runs, and windows, docks and layers that go in the middle of one."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from qtpy.QtWidgets import QApplication

import napari_ran as ran
from napari_ran import registration
from napari_ran.io import save_image
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets._layers import own_result
from napari_ran.widgets._worker import _TASKS
from napari_ran.widgets.apply import ApplyWidget
from napari_ran.widgets.cohort import CohortWidget
from napari_ran.widgets.compare import CompareWidget
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.registering.results import RESULTS

Made = tuple[Any, RegisterWidget]
QUICK = ran.RegistrationConfig(
    weights="none", device="cpu", affine="none", instance=ran.InstanceConfig(levels=1, steps=2, search=0)
)
GRID = ran.Grid.from_spacing((26, 22), (1.5, 1.0))


def picture(shift: float, name: str, grid: ran.Grid = GRID) -> ran.Image:
    x = np.indices(grid.shape).astype(np.float32)
    return ran.Image(torch.from_numpy(100 * np.sin((x[0] + shift) / 2.5) * np.cos(x[1] / 2.2)), grid, name)


def add_pair(viewer: Any) -> None:
    for value in (picture(0, "fixed"), picture(1, "moving")):
        data, kwargs, _ = to_layer_data(value)
        viewer.add_image(data, **kwargs)


def results(viewer: Any) -> dict[str, Any]:
    return {key: layer for layer in viewer.layers if (key := own_result(layer)) is not None}


def run(widget: RegisterWidget, qtbot: Any) -> None:
    with qtbot.waitSignal(widget.placer.done, timeout=60_000):
        widget.register()


def threads() -> int:
    return sum(thread.name == "napari-ran" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test no thread of ours is at work, no child process lives, and no run leaves out garbage."""
    frozen = gc.get_freeze_count()
    children = {child.pid for child in psutil.Process().children()}
    yield
    for task in list(_TASKS):
        task.join(30)
    assert threads() == 0
    assert gc.get_freeze_count() in (0, frozen)  # what was left out before the test, unless a run has ended since
    left = {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE} - children
    assert not left


@pytest.fixture
def docked(widget_in: Callable[..., Made]) -> Made:
    viewer, widget = widget_in()
    widget.form.set(QUICK)
    add_pair(viewer)
    return viewer, widget


def registrations() -> int:
    gc.unfreeze()
    gc.collect()
    return sum(isinstance(thing, ran.Registration) for thing in gc.get_objects())


@pytest.mark.slow
def test_two_hundred_registrations_in_a_row_leave_nothing_behind(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    for key, box in widget.setup.result_boxes.items():  # one of each kind: adding every one takes most of the time
        box.setChecked(key in ("warped", "vectors", "difference"))
    process, seen, others = psutil.Process(), [], registrations()  # other tests' fixtures may hold some
    for number in range(200):
        run(widget, qtbot)
        if number in (39, 119, 199):
            gc.collect()
            qt = len(QApplication.instance().allWidgets())
            kept = registrations() - others
            seen.append((process.memory_info().rss, len(gc.get_objects()), qt, kept, len(viewer.layers)))
            assert threads() <= 1
    (first, *_), (middle, *_), (last, *_) = seen
    print([f"{rss / 2**20:.0f} MiB, {objects} objects, {qt} widgets" for rss, objects, qt, *_ in seen])
    assert last - middle < 40 * 2**20
    assert last - first < 60 * 2**20
    assert seen[2][1] - seen[0][1] < 2_000  # fewer than 13 objects a run
    assert seen[2][2] == seen[0][2]
    assert seen[2][3] <= 2  # the widget's and the one that others may inspect are the same, or the last two
    assert seen[2][4] == seen[0][4] == 2 + len(results(viewer))
    assert set(results(viewer)) <= {kind.key for kind in RESULTS}


MOMENTS = ["at once", "preprocess", "network", "instance", "evaluate", "layers", "placing", "saving", "after"]


@pytest.mark.parametrize("how", ["viewer", "dock"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_closed_while_it_registers(docked: Made, qtbot: Any, tmp_path: Path, moment: str, how: str) -> None:
    """Exceptions in Qt's slots fail the test by themselves: pytest-qt captures them."""
    viewer, widget = docked
    reached: list[str] = []

    def close() -> None:
        if not reached:
            reached.append(moment)
            viewer.close() if how == "viewer" else viewer.window.remove_dock_widget(widget)

    def on_event(event: ran.Event) -> None:
        if event.stage == moment:
            close()

    if moment in ("at once", "placing"):
        signal = widget.placer.done if moment == "placing" else None
        widget.register()
        if signal is None:
            close()
        else:
            qtbot.waitUntil(lambda: bool(results(viewer)), timeout=30_000)
            close()
    elif moment in ("saving", "after"):
        run(widget, qtbot)
        if moment == "saving":
            widget.save(tmp_path / "out")
        close()
    else:
        widget.worker.stepped.connect(on_event)
        widget.register()
        qtbot.waitUntil(lambda: bool(reached) or not _TASKS or not any(task.running for task in _TASKS), timeout=30_000)
        close()  # if that stage was over before it was seen
    for task in list(_TASKS):
        task.join(30)
    qtbot.wait(60)
    assert threads() == 0
    if moment == "saving" and (tmp_path / "out").exists():  # a folder that appears is whole
        assert {"report.json", "warped.nii.gz"} <= {path.name for path in (tmp_path / "out").iterdir()}


def _apply(viewer: Any, tmp_path: Path, qtbot: Any) -> Any:
    widget = ApplyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Apply (RAN)")
    shift = np.zeros((2, *GRID.shape), np.float32) + 1
    ran.Transform(ran.DisplacementField(torch.from_numpy(shift), GRID)).save(tmp_path / "field.h5")
    widget.source.choose(tmp_path / "field.h5")
    qtbot.waitUntil(lambda: widget.source.reader.task is None, timeout=20_000)
    widget.layers.tick(viewer.layers["fixed"], viewer.layers["moving"])
    widget.run()
    return widget


def _compare(viewer: Any, tmp_path: Path, qtbot: Any) -> Any:
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare (RAN)")
    widget.tick("start", "no network + field", "demons")
    widget.run()
    return widget


def _cohort(viewer: Any, tmp_path: Path, qtbot: Any) -> Any:
    from napari_ran.cases import Case
    from napari_ran.cohort import register_case, write_summary

    files = {name: save_image(picture(shift, name), tmp_path / f"{name}.nii.gz") for shift, name in enumerate(SIDES)}
    write_summary([register_case(Case("ann", **files), tmp_path / "study", QUICK)], tmp_path / "study")
    widget = CohortWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Cohort (RAN)")
    widget.open(tmp_path / "study")
    return widget


SIDES = ("fixed", "moving")
STARTERS = {"apply": _apply, "compare": _compare, "cohort": _cohort}


@pytest.mark.parametrize("how", ["viewer", "dock"])
@pytest.mark.parametrize("milliseconds", [0, 60, 250])
@pytest.mark.parametrize("name", STARTERS)
def test_closed_while_others_work(
    make_napari_viewer: Callable[..., Any], tmp_path: Path, qtbot: Any, name: str, milliseconds: int, how: str
) -> None:
    viewer = make_napari_viewer()
    add_pair(viewer)
    widget = STARTERS[name](viewer, tmp_path, qtbot)
    if milliseconds:
        qtbot.wait(milliseconds)
    viewer.close() if how == "viewer" else viewer.window.remove_dock_widget(widget)
    for task in list(_TASKS):
        task.join(60)
    qtbot.wait(60)
    assert threads() == 0


@pytest.mark.parametrize("change", ["removed", "replaced", "painted", "all removed"])
def test_a_layer_that_changes_in_mid_run_does_no_harm(docked: Made, qtbot: Any, change: str) -> None:
    """The run is of what was there when it was started."""
    viewer, widget = docked
    wanted = ran.register(picture(0, "fixed"), picture(1, "moving"), QUICK).field.tensor
    with qtbot.waitSignal(widget.placer.done, timeout=60_000):
        with qtbot.waitSignal(widget.worker.stepped, timeout=20_000):
            widget.register()
        moving = viewer.layers["moving"]
        if change == "removed":
            viewer.layers.remove(moving)
        elif change == "replaced":
            moving.data = np.zeros((5, 4), np.float32)
        elif change == "painted":
            qtbot.waitUntil(lambda: widget._stage != "check", timeout=20_000)
            moving.data[:] = 0
        else:
            viewer.layers.clear()
    assert widget.result is not None
    assert torch.equal(widget.result.field.tensor, wanted)
    assert "warped" in results(viewer)


def test_a_dock_that_is_closed_and_opened_in_mid_run_works_again(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    for _ in range(3):
        with qtbot.waitSignal(widget.worker.stepped, timeout=20_000):
            widget.register()
        viewer.window.remove_dock_widget(widget)
        viewer.window.add_dock_widget(widget, name="again")
        assert widget.register_button.isEnabled()
    run(widget, qtbot)
    assert "warped" in results(viewer)
    assert len(viewer.layers) == 2 + len(results(viewer))


def test_two_viewers_in_one_process_do_not_meet(widget_in: Callable[..., Made], qtbot: Any) -> None:
    (one, first), (two, second) = widget_in(), widget_in()
    for viewer, widget in ((one, first), (two, second)):
        add_pair(viewer)
        widget.form.set(QUICK)
    done: list[int] = []
    first.placer.done.connect(lambda: done.append(1))
    second.placer.done.connect(lambda: done.append(2))
    first.register()
    second.register()
    one.close()
    qtbot.waitUntil(lambda: 2 in done, timeout=60_000)
    assert 1 not in done
    assert "warped" in results(two)


def test_a_gpu_that_is_lost_in_mid_run_is_said_and_the_viewer_goes_on(
    docked: Made, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error as CUDA gives it when the device is gone; where memory ran out, the processor takes over."""
    viewer, widget = docked
    original = registration.optimise_field
    faults = [RuntimeError("CUDA error: unspecified launch failure"), torch.OutOfMemoryError("CUDA out of memory")]

    def failing(*args: Any, **kwargs: Any) -> Any:
        yield from ()
        if faults:
            raise faults.pop(0)
        return (yield from original(*args, **kwargs))

    monkeypatch.setattr(registration, "optimise_field", failing)
    with qtbot.waitSignal(widget.worker.failed, timeout=20_000):
        widget.register()
    assert "CUDA error" in widget.message.text.text()
    assert widget.register_button.isEnabled()
    with qtbot.waitSignal(widget.worker.failed, timeout=20_000):  # on the processor there is nowhere else to go
        widget.register()
    assert "memory" in widget.message.text.text()
    run(widget, qtbot)
    assert "warped" in results(viewer)
