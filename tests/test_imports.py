"""The order of the house: who may import whom, and what importing the package must not bring along."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "napari_ran"
LAYERS = [  # a module imports from earlier lines only, or from its own sub-package
    ["errors", "events", "types", "steps", "deprecation", "documentation", "cache", "_version"],
    ["parsing", "writing", "downloads"],
    ["owners"],
    ["config", "functional"],
    ["data", "theory", "device", "measure"],
    ["losses", "transform", "report", "memory"],
    ["preprocess", "models", "synthetic", "evaluate", "inversion", "footprint"],
    ["looks"],
    ["io"],
    ["chunked"],
    ["applying"],
    ["peers"],
    ["instance", "precision"],
    ["train", "introspect"],
    ["figures"],
    ["tiling", "counting"],
    ["inputs", "webpage", "results", "working", "plan"],
    ["exchange", "guidance", "passes"],
    ["registration", "carrying"],
    ["cases"],
    ["benchmark", "cohort"],
    ["__init__"],
    ["terminal", "dashboard", "options"],
    ["commands"],
    ["cli", "contributions"],
    ["widgets"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
GUI = {"napari", "qtpy", "magicgui", "superqt"}
COMPUTE = {"models", "losses", "synthetic", "train", "instance"}
LIBRARIES = {"torch", "numpy", "pydantic", "safetensors", "lightning_fabric"}
ALLOWED_IN_COMPUTE = set(sys.stdlib_module_names) | LIBRARIES | {"napari_ran"}
FILES = sorted(PACKAGE.rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


by_path = pytest.mark.parametrize("path", FILES, ids=named)


def unit_of(module: str) -> str:
    """The part of the house a module of the package belongs to: its sub-package, or its own name."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def is_module(name: str) -> bool:
    path = SOURCE / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imported_modules(path: Path, *, lazy: bool = True) -> set[str]:
    """Modules that a file imports, but for type checkers' imports; those inside functions are kept if `lazy`."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            module = str(node.module)
            found.update(full if is_module(full := f"{module}.{alias.name}") else module for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def own_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@by_path
def test_a_module_imports_lower_ranks_only(path: Path) -> None:
    unit = unit_of(own_name(path))
    assert unit in RANK, f"{unit} has no place: add it to the layers"
    for module in imported_modules(path):
        if module.split(".")[0] == "napari_ran":
            other = unit_of(module)
            allowed = other == unit or RANK[other] < RANK[unit]
            assert allowed, f"{unit} imports {module}, which is not below it"


@by_path
def test_the_viewer_is_known_to_the_widgets_only(path: Path) -> None:
    roots = {module.split(".")[0] for module in imported_modules(path)}
    if unit_of(own_name(path)) != "widgets":
        assert not roots & GUI
        assert "matplotlib" not in {module.split(".")[0] for module in imported_modules(path, lazy=False)}


@pytest.mark.parametrize("path", [path for path in FILES if unit_of(own_name(path)) in COMPUTE], ids=named)
def test_what_runs_on_a_bare_gpu_host_needs_torch_and_numpy_only(path: Path) -> None:
    roots = {module.split(".")[0] for module in imported_modules(path, lazy=False)}
    assert roots <= ALLOWED_IN_COMPUTE


def brought(modules: list[str], unwanted: set[str]) -> str:
    """What of the unwanted a fresh process holds after each of some imports, one after the other."""
    code = (
        f"import importlib, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
        f"    if found := sorted({unwanted} & set(sys.modules)): print(name, 'brings', *found)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_brings_no_viewer() -> None:
    slow = GUI | {"matplotlib", "PyQt6", "lightning_fabric"}
    modules = ["napari_ran", "napari_ran.cli", "napari_ran.contributions", "napari_ran.io.layers"]
    assert brought(modules, slow) == ""


def test_computing_brings_no_image_libraries() -> None:
    modules = [f"napari_ran.{name}" for name in sorted(COMPUTE)]
    assert brought(modules, {"scipy", "nibabel", "SimpleITK", "napari"}) == ""
