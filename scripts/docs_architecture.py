"""Draw the house from its real imports: the picture and the tables of ``docs/development/architecture.md``.

``python scripts/docs_architecture.py`` reads the imports of every file of the package and the ranks of
``tests/test_imports.py``, and writes what changed. A test compares the page and the picture with the code.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from docs_diagrams import PALETTES, Diagram, save

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_ran"
PAGE = ROOT / "docs" / "development" / "architecture.md"
PICTURE = ROOT / "docs" / "images" / "architecture"


def layers() -> list[list[str]]:
    """Return the ranks that the tests hold, from the bottom up."""
    for node in ast.parse((ROOT / "tests" / "test_imports.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS":
            found: list[list[str]] = ast.literal_eval(node.value)
            return found
    raise SystemExit("tests/test_imports.py has no LAYERS")


def units() -> dict[str, list[Path]]:
    """Return the files of every sub-package and module by its name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def imports() -> dict[str, set[str]]:
    """Return the parts of the house that each part imports, at the top of a file or inside a function."""
    known = units()
    return {name: {u for path in files for u in imported(path, known)} - {name} for name, files in known.items()}


def imported(path: Path, known: dict[str, list[Path]]) -> set[str]:
    """Return the parts of the house that a file imports, but for those that only a type checker reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        for module in modules:
            first, *rest = module.split(".")
            if first == "napari_ran":
                found.add(rest[0] if rest and rest[0] in known else "__init__")
        waiting += ast.iter_child_nodes(node)
    return found


def direct(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that no chain of other imports implies: the lines of the picture."""

    def below(name: str, seen: set[str]) -> set[str]:
        for other in edges[name] - seen:
            seen.add(other)
            below(other, seen)
        return seen

    reach = {name: below(name, set()) for name in edges}
    return {
        name: {o for o in others if not any(o in reach[via] for via in others if via != o)}
        for name, others in edges.items()
    }


def about(name: str) -> str:
    """Return the first line of what a part says about itself."""
    path = PACKAGE / name / "__init__.py"
    text = ast.get_docstring(ast.parse((path if path.exists() else PACKAGE / f"{name}.py").read_text(encoding="utf-8")))
    return (text or "").splitlines()[0] if text else ""


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    edges, ranks = imports(), layers()
    lines = ["| rank | part | what it is | imports |", "|--:|---|---|---|"]
    for rank, names in reversed(list(enumerate(ranks, start=1))):
        for name in names:
            shown = "the package itself" if name == "__init__" else f"`{name}`"
            others = ", ".join("the package" if o == "__init__" else f"`{o}`" for o in sorted(edges[name]))
            what = about(name).replace("``", "`").replace("|", "\\|")
            lines.append(f"| {rank} | {shown} | {what} | {others} |")
    table = "\n".join(lines)
    place = re.compile(r"(<!-- made: parts -->\n).*?(\n<!-- end -->)", re.DOTALL)
    return place.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def described() -> str:
    """Return what the picture shows, in words: kept inside it, so that a test can tell when it is out of date."""
    lines = direct(imports())
    ranks = " | ".join(" ".join(names) for names in layers())
    return ranks + " || " + "; ".join(f"{name} > {' '.join(sorted(lines[name]))}" for name in sorted(lines))


def draw(palette: str) -> Diagram:
    """Draw the ranks from the bottom up, and a line for every import that no other implies."""
    ranks, lines = layers(), direct(imports())
    diagram = Diagram(PALETTES[palette], width=11, height=0.62 * len(ranks))
    places: dict[str, tuple[float, float]] = {}
    for rank, names in enumerate(ranks):
        step = 11 / len(names)
        for column, name in enumerate(names):
            shift = 0.9 * (rank % 3 - 1) if len(names) < 4 else 0  # so that lines do not run through boxes
            places[name] = (step * (column + 0.5) + shift, 0.62 * (rank + 0.5))
    for name, others in lines.items():
        for other in sorted(others):
            diagram.line(places[name], places[other], behind=True)
    for rank, names in enumerate(ranks):
        diagram.note(0.06, 0.62 * (rank + 0.5), str(rank + 1), size=7)
        for name in names:
            kind = {"widgets": "gold", "cli": "gold", "contributions": "gold", "__init__": "green"}.get(name, "blue")
            title = "napari_ran" if name == "__init__" else name
            diagram.box(*places[name], title, width=max(0.8, 0.105 * len(title) + 0.24), height=0.36, kind=kind, size=8)
    return diagram


def main() -> None:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for palette in PALETTES:
        save(draw(palette), PICTURE.with_name(f"{PICTURE.name}-{palette}.svg"), described())


if __name__ == "__main__":
    main()
