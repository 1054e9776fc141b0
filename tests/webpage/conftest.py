from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import napari_ran as ran
from napari_ran.webpage import sections

NAMES = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")


@pytest.fixture(scope="session", autouse=True)
def _few_pairs() -> Iterator[None]:
    """Draw fewer pairs of points than a report for readers does, for the sake of time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "PAIRS", 50_000)
        patch.setattr(sections, "LEVEL_PAIRS", 20_000)
        yield


@pytest.fixture(scope="session")
def result() -> ran.Registration:
    """A small phantom, registered with everything that a report can show."""
    pair = ran.sliding_phantom(shape=(24, 20, 16))
    given: dict[str, Any] = {name: getattr(pair, name) for name in NAMES}
    instance = {"steps": 4, "search": 0}
    return ran.register(pair.fixed, pair.moving, affine="none", instance=instance, keep_levels=True, **given)


@pytest.fixture(scope="session")
def saved(result: ran.Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, in a folder."""
    return result.save(tmp_path_factory.mktemp("result") / "saved")
