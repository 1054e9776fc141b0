"""Time series in the Register widget: what the viewer shows is what is registered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_ran import InputError
from napari_ran.widgets._combos import LayerChoices


def volume(*shape: int) -> Any:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def test_the_time_point_that_is_shown_is_taken(viewer: Any, choices: LayerChoices) -> None:
    still, moving = volume(8, 9, 10), volume(5, 8, 9, 10)
    viewer.add_image(still, name="still", scale=(3, 2, 1), units="mm")
    viewer.add_image(moving, name="cine", scale=(10, 3, 2, 1), translate=(20, 0, 1, 0), units=("s", "mm", "mm", "mm"))
    viewer.dims.set_point(0, 50)
    sources, look = choices.sources()
    assert sources["moving"].name == "cine [4]"
    image = sources["moving"].image()
    np.testing.assert_array_equal(image.array, moving[3].T)
    np.testing.assert_allclose(image.grid.spacing, (1, 2, 3))
    assert [str(unit) for unit in look.units] == ["millimeter"] * 3
    np.testing.assert_array_equal(sources["fixed"].image().array, still.T)


@pytest.mark.parametrize("told", [{"axis_labels": ("t", "y", "x")}, {"units": ("s", "mm", "mm")}])
def test_two_dimensions_and_time(viewer: Any, choices: LayerChoices, told: dict[str, Any]) -> None:
    fixed, moving = volume(4, 12, 14), volume(4, 16, 14)
    viewer.add_image(fixed, name="fixed", **told)
    viewer.add_image(moving, name="moving", **told)
    viewer.dims.set_point(0, 2)
    sources, _ = choices.sources()
    np.testing.assert_array_equal(sources["fixed"].image().array, fixed[2].T)
    np.testing.assert_array_equal(sources["moving"].image().array, moving[2].T)


def test_an_image_without_time_tells_that_the_other_has_it(viewer: Any, choices: LayerChoices) -> None:
    viewer.add_image(volume(12, 14), name="fixed")
    viewer.add_image(volume(4, 12, 14), name="moving")
    viewer.dims.set_point(0, 1)
    assert choices.sources()[0]["moving"].image().array.shape == (14, 12)


def test_three_axes_that_nothing_is_said_of_are_space(viewer: Any, choices: LayerChoices) -> None:
    viewer.add_image(volume(4, 12, 14), name="fixed")
    viewer.add_image(volume(4, 12, 14), name="moving")
    assert choices.sources()[0]["moving"].image().array.shape == (14, 12, 4)


def test_labels_and_points_are_those_of_the_same_time(viewer: Any, choices: LayerChoices) -> None:
    viewer.add_image(volume(12, 14), name="fixed")
    viewer.add_image(volume(4, 12, 14), name="moving")
    labels = np.zeros((4, 12, 14), np.int32)
    labels[2, 3:6, 4:8] = 5
    viewer.add_labels(labels, name="moving organs")
    viewer.add_points([[2, 3, 4], [1, 0, 0], [2, 7, 8]], name="moving points")
    viewer.dims.set_point(0, 2)
    sources, _ = choices.sources()
    np.testing.assert_array_equal(sources["moving_labels"].labels().array, labels[2].T)
    np.testing.assert_allclose(np.abs(sources["moving_landmarks"].landmarks().points), [[4, 3], [8, 7]])
    viewer.dims.set_point(0, 0)
    with pytest.raises(InputError, match="holds no points"):
        choices.sources()[0]["moving_landmarks"].landmarks()


def test_a_time_that_a_series_does_not_have(viewer: Any, choices: LayerChoices) -> None:
    viewer.add_image(volume(3, 6, 8, 9), name="fixed")
    viewer.add_image(volume(5, 6, 8, 9), name="moving")
    viewer.dims.set_point(0, 4)
    with pytest.raises(InputError, match="3 time points, and the viewer is at 5"):
        choices.sources()
    viewer.layers["fixed"].data = volume(5, 6, 8, 9)
    viewer.add_labels(np.zeros((2, 6, 8, 9), np.int32), name="fixed organs")
    with pytest.raises(InputError, match="ends before the time point"):
        choices.sources()


def test_a_rotation_between_time_and_space_is_refused(viewer: Any, choices: LayerChoices) -> None:
    viewer.add_image(volume(8, 9, 10), name="fixed")
    matrix = np.eye(5)
    matrix[0, 2] = 0.5
    viewer.add_image(volume(3, 8, 9, 10), name="moving", affine=matrix)
    with pytest.raises(InputError, match="mixes the axes"):
        choices.sources()


def test_a_series_on_disk_is_not_read_while_choosing(viewer: Any, choices: LayerChoices) -> None:
    import dask.array as da

    read: list[int] = []

    def block(block_info: Any = None) -> Any:
        read.append(block_info[None]["chunk-location"][0])
        return volume(1, 6, 8, 9)

    lazy = da.map_blocks(block, chunks=((1,) * 4, (6,), (8,), (9,)), dtype=np.float32)
    viewer.add_image(volume(6, 8, 9), name="fixed")
    viewer.add_image(lazy, name="moving", contrast_limits=(0, 1))
    viewer.dims.set_point(0, 3)
    read.clear()
    sources, _ = choices.sources()
    assert read == []
    np.testing.assert_array_equal(sources["moving"].image().array, volume(1, 6, 8, 9)[0].T)


def test_a_result_lies_on_every_time_point(widget_in: Any, qtbot: Any) -> None:
    viewer, widget = widget_in()
    x = np.indices((40, 44)).astype(np.float32)
    pictures = [100 * np.sin((x[0] + shift) / 3) * np.cos(x[1] / 4) for shift in (0, 0.5, 1, 1.5)]
    viewer.add_image(pictures[0], name="fixed", units=("mm", "mm"))
    viewer.add_image(np.stack(pictures), name="moving", units=("s", "mm", "mm"))
    viewer.dims.set_point(0, 3)
    widget.register_button.click()
    qtbot.waitUntil(lambda: "warped" in viewer.layers, timeout=120_000)
    assert viewer.layers["warped"].ndim == 2
    remaining = np.abs(viewer.layers["warped"].data - pictures[0])[6:-6, 6:-6].mean()
    assert remaining < 0.5 * np.abs(pictures[3] - pictures[0])[6:-6, 6:-6].mean()
