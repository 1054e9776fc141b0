"""A Train widget in a real viewer, small settings and small layers; what tests train is nobody's but theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.config import TrainConfig
from napari_ran.data import Landmarks
from napari_ran.io.layers import to_layer_data
from napari_ran.train.process import TrainingProcess
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.training.runs import runs_folder


def _settings(**sections: Any) -> TrainConfig:
    """A small RAN3 that takes a step in milliseconds."""
    narrow = ran.RANConfig.preset("RAN3", 3).replace(
        encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
    )
    return TrainConfig(
        name="tiny",
        model={"structure": narrow.to_dict()},
        data={"source": "generated", "generated": {"shapes": [[16, 32, 16]]}},
        objective={"window": 5},
        validation={"every": 2, "pairs": 1},
        budget={"steps": 4},
    ).replace(**sections)


def _add_pair(viewer: Any, ndim: int = 3, points: bool = False) -> None:
    """Add two images with labels, shifted by a voxel against each other, with four corresponding points if wanted."""
    grid = ran.Grid.from_spacing((16, 32, 16)[:ndim], (1.5, 1.0, 2.0)[:ndim])
    x = np.indices(grid.shape).astype(float)
    labels = np.zeros(grid.shape, np.int32)
    labels[(slice(4, 10),) * ndim] = 3
    spots = np.array([[5, 6, 7], [8, 20, 9], [10, 12, 4], [6, 25, 11]])[:, :ndim].astype(float)
    for name, shift in (("fixed", 0), ("moving", 1)):
        picture = (100 * np.sin((x[0] + shift) / 2.5) * np.cos(x[1] / 2.2)).astype(np.float32)
        values = [ran.Image(picture, grid, name), ran.Labels(np.roll(labels, -shift, 0), grid, f"{name} organs")]
        if points:
            values.append(Landmarks.from_voxels(spots - shift * np.eye(ndim)[0], grid, f"{name} points"))
        for value in values:
            data, kwargs, kind = to_layer_data(value)
            getattr(viewer, f"add_{kind}")(data, **kwargs)


@pytest.fixture(name="settings", scope="session")
def _settings_maker() -> Callable[..., TrainConfig]:
    return _settings


@pytest.fixture(name="add_pair")
def _pair_adder() -> Callable[..., None]:
    return _add_pair


@pytest.fixture
def said() -> Callable[[TrainWidget], str]:
    """The text of the message that a widget shows."""
    return lambda widget: str(widget.message.text.text())


@pytest.fixture
def choose() -> Callable[[TrainWidget, str], None]:
    """Choose a source of pairs."""
    return lambda widget, source: widget.setup.source.setCurrentIndex(widget.setup.source.findData(source))


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and trainings of the tests are not the user's."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


@pytest.fixture
def train_in(dock: Callable[..., tuple[Any, Any]]) -> Iterator[Callable[..., tuple[Any, TrainWidget]]]:
    """Make a viewer, or take the given one, with a Train widget; at the end all its trainings are killed."""
    yield lambda viewer=None: dock(TrainWidget, viewer)
    for folder in runs_folder().glob("*"):
        TrainingProcess(folder).kill()
