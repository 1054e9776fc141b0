"""What the scripts and benchmarks use of the package is there; most of them are too slow to be run by tests."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path for folder in ("scripts", "benchmarks", "examples") for path in (ROOT / folder).glob("*.py"))


def is_there(module: str, name: str) -> bool:
    """Whether a module has something of this name, or a module below it."""
    if hasattr(importlib.import_module(module), name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_is_imported_is_there(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    ours = [
        (node.module, name.name)
        for node in found
        if (node.module or "").startswith("napari_ran")
        for name in node.names
    ]
    assert [f"{module}.{name}" for module, name in ours if not is_there(str(module), name)] == []
