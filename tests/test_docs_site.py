"""The documentation as a site: no broken link, no orphaned picture, no page of the code that is out of date."""

from __future__ import annotations

import fnmatch
import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import napari_ran as ran

ROOT = Path(__file__).parents[1]
DOCS, IMAGES = ROOT / "docs", ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "scripts"))

import docs_architecture  # noqa: E402
import docs_blocks  # noqa: E402
import docs_math  # noqa: E402
import docs_pictures  # noqa: E402
import docs_reference  # noqa: E402

PAGES = docs_blocks.pages()
PICTURES = sorted(
    path.relative_to(IMAGES).as_posix() for path in IMAGES.rglob("*") if path.is_file() and path != docs_blocks.SOURCES
)


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose values may come from the environment."""


Loader.add_constructor("!ENV", lambda loader, node: loader.construct_sequence(node))


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    return found


def navigated(entries: Any) -> list[str]:
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for entry in values for page in navigated(entry)]


# ------------------------------------------------------------ links


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_link_is_broken(page: Path) -> None:
    for link in docs_blocks.links(page):
        if link.file is None:
            assert link.target.startswith(("https://", "mailto:")), f"{link.target} is neither secure nor inside"
            continue
        assert link.file.exists(), f"{link.target} leads nowhere"
        if link.anchor and link.file.suffix == ".md":
            assert link.anchor in docs_blocks.anchors(link.file), f"{link.target}: there is no such heading"
        elif link.anchor:
            assert link.anchor in ("only-light", "only-dark"), link.target
            assert link.file.stem.endswith(link.anchor.removeprefix("only-")), link.target


def test_a_broken_link_would_be_found() -> None:
    found = docs_blocks.anchors(DOCS / "numbers.md")
    assert {"with-labels", "with-the-exact-motion-the-demo"} <= found
    assert "with-leaves" not in found
    assert "the-model-general-3d" in docs_blocks.anchors(DOCS / "training.md")


def test_every_page_is_in_the_navigation_once(site: dict[str, Any]) -> None:
    pages = navigated(site["nav"])
    assert sorted(pages) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_addresses_are_said_in_one_place(site: dict[str, Any]) -> None:
    assert site["site_url"][0] == "NAPARI_RAN_SITE_URL"
    assert site["repo_url"][0] == "NAPARI_RAN_REPOSITORY_URL"


# ------------------------------------------------------------ pictures


def test_every_picture_is_made_by_one_script() -> None:
    patterns = [name for names in docs_blocks.picture_sources().values() for name in names]
    for picture in PICTURES:
        assert sum(fnmatch.fnmatch(picture, pattern) for pattern in patterns) == 1, f"nobody says what makes {picture}"
    for pattern in patterns:
        assert fnmatch.filter(PICTURES, pattern), f"{pattern} is not there"


@pytest.mark.parametrize("command", docs_blocks.picture_sources())
def test_the_script_of_a_picture_is_there_and_writes_it(command: str) -> None:
    python, script, *_ = shlex.split(command)
    text = (ROOT / script).read_text(encoding="utf-8")
    assert python == "python"
    for name in docs_blocks.picture_sources()[command]:
        place = Path(name).parent.name or Path(name).stem.rsplit("-", 1)[0]
        assert place in text + command, f"{script} does not write {name}"


def test_no_picture_is_orphaned() -> None:
    shown = {link.file for page in PAGES for link in docs_blocks.links(page) if link.file is not None}
    named = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)  # the README names them by their address
    lost = [name for name in PICTURES if IMAGES / name not in shown and f"docs/images/{name}" not in named]
    assert lost == []


def test_every_picture_says_what_it_shows() -> None:
    for page in PAGES:
        for words in re.findall(r"!\[([^\]]*)\]\(", page.read_text(encoding="utf-8")):
            assert len(words) > 10, f"{page.name}: a picture without a description"


def test_the_diagrams_show_the_network_that_the_config_builds() -> None:
    config = ran.RANConfig.preset(docs_pictures.SHOWN)
    found = sorted((IMAGES / "network").glob("*.svg"))
    assert len(found) == 4
    for path in found:
        assert described(path) == docs_pictures.described(config), "run: python scripts/docs_pictures.py --only network"
    text = (IMAGES / "network" / "network-light.svg").read_text(encoding="utf-8")
    for pool, dilation in zip(config.pools, config.dilations, strict=True):
        assert f"pool {pool}, dilation {dilation}" in text


def described(path: Path) -> str:
    from xml.etree import ElementTree

    (found,) = ElementTree.parse(path).iter("{http://purl.org/dc/elements/1.1/}description")
    return found.text or ""


# ------------------------------------------------------------ pages from the code


@pytest.mark.parametrize("path", docs_reference.pages(), ids=lambda path: path.name)
def test_a_page_from_the_code_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == docs_reference.pages()[path], "run: python scripts/docs_reference.py"


def test_the_architecture_page_is_up_to_date() -> None:
    text = docs_architecture.PAGE.read_text(encoding="utf-8")
    cure = "run: python scripts/docs_architecture.py"
    assert docs_architecture.page(text) == text, cure
    for palette in ("light", "dark"):
        picture = docs_architecture.PICTURE.with_name(f"{docs_architecture.PICTURE.name}-{palette}.svg")
        assert described(picture) == docs_architecture.described(), cure


def test_the_architecture_has_a_rank_for_every_part() -> None:
    ranked = [name for names in docs_architecture.layers() for name in names]
    assert sorted(ranked) == sorted(docs_architecture.units())
    rank = {name: number for number, names in enumerate(docs_architecture.layers()) for name in names}
    edges = docs_architecture.imports()
    assert edges["widgets"] >= {"figures", "io"}
    assert all(rank[other] < rank[name] for name, others in edges.items() for other in others)


def test_the_environments_of_tox_are_listed() -> None:
    text = (DOCS / "development" / "tests.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.MULTILINE):
        assert f"`{name}`" in text


# ------------------------------------------------------------ formulas


def test_formulas_become_markup_and_code_is_left_alone() -> None:
    text = "$a_k$ is\n\n$$\nb^2\n$$\n\n`$HOME` and\n```sh\necho $PATH $HOME\n```\ncosts 5$ or 6$\n"
    page = docs_math.on_page_markdown(text)
    assert page.count("<math") == 2
    assert 'display="block"' in page
    assert "`$HOME`" in page
    assert "echo $PATH $HOME" in page
    assert "5$ or 6$" in page


# ------------------------------------------------------------ the public names


def documented() -> list[str]:
    """The names that the page of the Python API shows."""
    return re.findall(r"^::: (napari_ran[\w.]*)", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE)


def resolved(name: str) -> Any:
    import importlib

    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def undocumented(value: Any, name: str) -> list[str]:
    """What the docstrings of a public name leave out: the text itself, a parameter, a public method or attribute."""
    text = inspect.getdoc(value) or ""
    if not text:
        return [f"{name} has no docstring"]
    if not callable(value):
        return []
    if inspect.isclass(value):
        missing = [f"{name}: {field}" for field in fields_of(value) if not named_in(text, field)]
        for member, function in public_members(value):
            inner = inspect.getdoc(function) or ""
            if not inner:
                missing.append(f"{name}.{member} has no docstring")
            elif callable(function) and not isinstance(function, property):
                missing += parameters_left_out(function, inner, f"{name}.{member}")
        return missing
    return parameters_left_out(value, text, name)


def public_members(value: type) -> list[tuple[str, Any]]:
    """The methods and properties that a class of ours defines itself."""
    found = []
    for member, function in vars(value).items():
        plain = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        if not member.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property)):
            found.append((member, plain))
    return found


def fields_of(value: type) -> list[str]:
    """What a reader has to know to make one: fields of records and configs, else the arguments of the constructor."""
    if hasattr(value, "model_fields"):
        return list(value.model_fields)
    if hasattr(value, "__dataclass_fields__"):
        return [name for name in value.__dataclass_fields__ if not name.startswith("_")]
    made = vars(value).get("__init__")
    return [] if made is None else [name for name in inspect.signature(made).parameters if name != "self"]


def parameters_left_out(function: Any, text: str, name: str) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return []
    if reference := re.search(r"see `(\w+)` for the parameters", text, re.IGNORECASE):
        assert any(shown.endswith(f".{reference[1]}") for shown in documented()), f"{name} refers to a hidden name"
        return []
    return [f"{name}({one})" for one in parameters if one not in ("self", "cls") and not named_in(text, one)]


def named_in(text: str, name: str) -> bool:
    """Whether a section of a docstring lists a name, or its prose names it in backticks."""
    listed = rf"^\s*\*{{0,2}}(?:\w+, )*\*{{0,2}}{re.escape(name)}(?:, \*{{0,2}}\w+)* ?(?::|$)"
    told = rf"`+\*{{0,2}}{re.escape(name)}\b"
    return any(re.search(pattern, text, re.MULTILINE) for pattern in (listed, told))


def test_every_public_name_is_on_the_page() -> None:
    shown = [resolved(name) for name in documented()]
    missing = [name for name in ran.__all__ if name != "__version__" and getattr(ran, name) not in shown]
    assert missing == []


@pytest.mark.parametrize("name", documented())
def test_a_public_name_is_documented(name: str) -> None:
    assert undocumented(resolved(name), name) == []
