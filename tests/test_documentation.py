from __future__ import annotations

import pytest

from napari_ran import documentation
from napari_ran.documentation import page_file, page_url


def test_without_an_address_there_is_no_link_but_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "ADDRESS", "")
    assert page_url("memory.md") == ""
    file = page_file("memory.md")
    assert file is not None
    assert file.read_text(encoding="utf-8").startswith("# ")
    assert page_file("nothing.md") is None


@pytest.mark.parametrize("address", ["https://docs.example.org/ran", "https://docs.example.org/ran/"])
def test_links_follow_the_address(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documentation, "ADDRESS", address)
    assert page_url("index.md") == "https://docs.example.org/ran/"
    assert page_url("memory.md", "what-is-planned") == "https://docs.example.org/ran/memory/#what-is-planned"
