"""A page is one well-formed text that holds everything it shows."""

from __future__ import annotations

from html.parser import HTMLParser

from matplotlib.figure import Figure

from napari_ran.webpage import Page

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Checks that tags are closed in their order, and collects links, sources and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_page_is_well_formed_and_needs_no_other_file() -> None:
    page = Page("a <b> & c")
    page.section("First part")
    page.text("x < y &", "so on.")
    page.note('"quoted"')
    page.table(["name", "value"], [["<i>", 1.23456], ["none", None], ["tiny", 1e-15], ["count", 12345]], "what & why")
    figure = Figure()
    figure.subplots().plot([0, 1])
    page.figure(figure, 'a "line"')
    page.details("more", "{<}")
    read = Reader(page.html())
    for words in ("a <b> & c", "x < y & so on.", "<i>", "1.235", "12345", "what & why", "{<}"):
        assert words in read.words
    assert "1e-15" not in read.words
    sources = [value for _, name, value in read.attributes if name in ("src", "href")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in sources)
    anchors = {value for _, name, value in read.attributes if name == "id"}
    assert {value[1:] for value in sources if value.startswith("#")} <= anchors
    assert ("img", "alt", 'a "line"') in read.attributes
