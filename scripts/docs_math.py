"""Turn ``$...$`` and ``$$...$$`` of the documentation into MathML, which browsers draw without any script.

A hook of mkdocs (see ``mkdocs.yml``): the pages ask no other server for anything.
"""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_DISPLAYED = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<![\\$])\$(?=\S)([^$\n]+?)(?<=\S)\$(?!\d)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the formulas of a page; what stands in code is left alone."""
    parts = _CODE.split(markdown)
    return "".join(part if index % 2 else formulas(part) for index, part in enumerate(parts))


def formulas(text: str) -> str:
    """Replace the formulas of a text without code: displayed ones first, then those within a line."""
    text = _DISPLAYED.sub(lambda found: f'<div class="formula">{drawn(found[1], "block")}</div>', text)
    return _INLINE.sub(lambda found: f"<span>{drawn(found[1], 'inline')}</span>", text)


def drawn(latex: str, display: str) -> str:
    """Return a formula as MathML on one line."""
    from latex2mathml.converter import convert

    return str(convert(latex.strip(), display=display)).replace("\n", " ")
