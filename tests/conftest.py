from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; the test is skipped where there is none."""
    folder = os.environ.get("NAPARI_RAN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_RAN_DATA does not name a folder of real volumes")
    return Path(folder)
