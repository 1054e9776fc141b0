"""Where the documentation is: one address for all links, and the installed text where there is no address yet."""

from __future__ import annotations

from pathlib import Path

ADDRESS = ""
"""The published documentation, such as ``https://docs.example.org/napari-ran/``; empty until it has an address.

Everything that links to a page takes it from here.
"""

_PLACES = (Path(__file__).parent / "docs", Path(__file__).parents[2] / "docs")
"""Where the pages lie: in an installed package, or beside the sources of one that is worked on."""


def page_url(page: str, section: str = "") -> str:
    """Return the address of a page, or an empty text while the documentation has none.

    Parameters
    ----------
    page : str
        File name of the page, such as ``memory.md``.
    section : str
        Anchor on the page, such as ``what-is-planned``.
    """
    if not ADDRESS:
        return ""
    name = page.removesuffix(".md")
    place = "" if name == "index" else f"{name}/"
    return f"{ADDRESS.rstrip('/')}/{place}" + (f"#{section}" if section else "")


def page_file(page: str) -> Path | None:
    """Return the installed text of a page (Markdown), or None where the package came without it."""
    return next((folder / page for folder in _PLACES if (folder / page).is_file()), None)
