"""The README is also the page of a package index, where a link into the source leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)")
NAMED = re.compile(r"`((?:docs/)?[\w.]+\.(?:md|cff))`")


def test_links_lead_somewhere_from_everywhere() -> None:
    targets = LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


def test_files_that_are_named_exist() -> None:
    names = NAMED.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "docs/levels.md" in names
    assert [name for name in names if not ((ROOT / name).exists() or (ROOT / "docs" / name).exists())] == []
