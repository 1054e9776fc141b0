"""The tests measure with ``benchmarks/numerics.py``, which prints the figures of ``docs/numerics.md``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def numerics() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "numerics.py"
    spec = importlib.util.spec_from_file_location("benchmarks_numerics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclass looks for its annotations
    spec.loader.exec_module(module)
    return module
