from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _quick(quick_report: None) -> None:
    """Let every report here be a quick one."""
