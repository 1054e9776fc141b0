"""A small page: headings, sentences, tables and figures, collected and written as one self-contained HTML text."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | float | int | None

DOTS_PER_INCH = 110

WORDS = 60
"""Characters from which a table's cell is text to read, which may wrap."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #ffffff; --soft: #5f6368; --line: #d5d8dc; --tint: #f4f6f8;
  --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #15181b; --soft: #9aa0a6; --line: #3a4046;
  --tint: #1f2428; --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
p { max-width: 50rem; margin: .5rem 0; }
nav { margin: 1rem 0 0; } nav a { margin-right: 1.1rem; white-space: nowrap; } a { color: var(--link); }
.note { padding: .6rem .9rem; background: var(--tint); border-left: 4px solid #d98c00; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
td.words { text-align: left; white-space: normal; min-width: 24rem; max-width: 46rem; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
figcaption, caption { color: var(--soft); font-size: .9rem; max-width: 50rem; text-align: left; }
caption { caption-side: bottom; padding-top: .4rem; white-space: normal; }
pre { background: var(--tint); padding: .9rem; overflow-x: auto; font-size: .85rem; line-height: 1.4; }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } nav { display: none; }
  h2 { break-after: avoid; } h2, figure, tr { break-inside: avoid; } figure img { max-height: 23cm; }
  .scroll { overflow: visible; } table { font-size: 8pt; } th, td { padding: .2rem .35rem; white-space: normal; }
  td.words { min-width: 0; } }
"""


class Page:
    """Collects what a report says.

    Parameters
    ----------
    title : str
        Shown on top and in the browser's tab.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._body: list[str] = []
        self._sections: list[tuple[str, str]] = []

    def section(self, heading: str) -> None:
        """Begin a section; it is listed on top of the page."""
        anchor = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")
        self._sections.append((anchor, heading))
        self._body.append(f'<h2 id="{anchor}">{html.escape(heading)}</h2>')

    def text(self, *sentences: str) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{html.escape(' '.join(sentences))}</p>")

    def note(self, text: str) -> None:
        """Add a paragraph that stands out."""
        self._body.append(f'<p class="note">{html.escape(text)}</p>')

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> None:
        """Add a table; numbers get four significant digits, None becomes an empty cell."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
        body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
        below = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        self._body.append(
            f'<div class="scroll"><table>{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )

    def figure(self, figure: Figure, caption: str) -> None:
        """Add a matplotlib figure as an embedded picture; the caption is also its text for screen readers."""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, facecolor="white")
        data = base64.b64encode(stream.getvalue()).decode("ascii")
        words = html.escape(caption, quote=True)
        self._body.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{words}"><figcaption>{words}</figcaption></figure>'
        )

    def details(self, summary: str, text: str) -> None:
        """Add preformatted text that unfolds."""
        self._body.append(f"<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>")

    def html(self) -> str:
        """Return the whole page."""
        links = "".join(f'<a href="#{anchor}">{html.escape(name)}</a>' for anchor, name in self._sections)
        title = html.escape(self.title)
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<nav>{links}</nav>\n"
            + "\n".join(self._body)
            + "\n</body>\n</html>\n"
        )


def _cell(cell: Cell) -> str:
    words = ' class="words"' if isinstance(cell, str) and len(cell) > WORDS else ""
    return f"<td{words}>{_shown(cell)}</td>"


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return "0" if abs(cell) < 1e-12 else f"{cell:.4g}"
    return html.escape(str(cell))
