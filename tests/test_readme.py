"""The README is also the page of a package index, where its links have to lead into the repository from outside."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

pytest.importorskip("hatchling")
ROOT = Path(__file__).parents[1]
if not (ROOT / "scripts" / "hub_page.py").exists():
    pytest.skip("tests run outside the repository", allow_module_level=True)
sys.path.insert(0, str(ROOT / "scripts"))

import hub_page  # noqa: E402

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGET = re.compile(r"\]\(([^)\s]+)")


def test_what_it_links_to_is_there() -> None:
    own = [target for target in TARGET.findall(TEXT) if not target.startswith("https://")]
    assert "docs/levels.md" in own
    assert [target for target in own if not (ROOT / target).is_file()] == []


def test_away_from_the_repository_every_link_is_whole() -> None:
    page = hub_page.page(TEXT, "https://example.org/a/b", "1.2.3")
    targets = TARGET.findall(page)
    assert all(target.startswith("https://") for target in targets)
    assert len(targets) == len(TARGET.findall(TEXT))
    assert "https://example.org/a/b/raw/v1.2.3/docs/images/readme/viewer.png" in targets
    assert "https://example.org/a/b/blob/v1.2.3/docs/levels.md" in targets


def test_without_an_address_nothing_leads_nowhere() -> None:
    page = hub_page.page(TEXT, "", "1.2.3")
    assert all(target.startswith("https://") for target in TARGET.findall(page))
    assert "Reading the levels says how far" in page
    assert "docs/images" not in page
    assert hub_page.addresses("", "", "1") == {}


def test_the_documentation_has_its_own_address_where_it_is_known() -> None:
    urls = hub_page.addresses("https://example.org/a/b", "https://pages.example.org/b", "1")
    assert urls["Documentation"] == "https://pages.example.org/b"
    assert hub_page.addresses("", "https://pages.example.org/b", "1") == {
        "Documentation": "https://pages.example.org/b"
    }


def test_the_badges_say_what_is_true() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    badges = re.findall(r"!\[([^\]]+)\]\(https://img\.shields\.io/badge/([^)\s]+)\)", TEXT)
    arxiv = cited["preferred-citation"]["journal"].partition("arXiv:")[2]
    assert [words for words, _ in badges] == [
        f"licence: {PROJECT['license'].replace('BSD-3-Clause', 'BSD 3-Clause')}",
        f"Python {PROJECT['requires-python'].removeprefix('>=')} or newer",
        f"method: arXiv {arxiv}",
    ]
    assert PROJECT["license"].replace("-", "--") in badges[0][1]
    assert PROJECT["requires-python"].removeprefix(">=") in badges[1][1]
    assert arxiv in badges[2][1]


def test_the_animation_is_small_enough_for_a_page() -> None:
    assert (ROOT / "docs" / "images" / "readme" / "levels.png").stat().st_size <= 2_000_000


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version = re.search(
        r'__version__ = "(.+)"', (ROOT / "src" / "napari_ran" / "_version.py").read_text(encoding="utf-8")
    )
    assert version
    assert (cited["version"], cited["license"]) == (version[1], PROJECT["license"])
