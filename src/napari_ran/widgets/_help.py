"""The documentation from within the viewer: its published page, or the installed text in a window."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QImage
from qtpy.QtWidgets import QDialog, QTextBrowser, QVBoxLayout, QWidget

from napari_ran.documentation import page_file, page_url

NO_TEXT = "The documentation was not installed with this package. It is in the folder *docs* of its sources."


def open_page(page: str, parent: QWidget | None = None) -> HelpWindow | None:
    """Open a page of the documentation: in the browser where it has an address, else its text in a window.

    Parameters
    ----------
    page : str
        File name, such as ``memory.md``.
    parent : QWidget, optional
        Beside what the window opens, and with what it goes.

    Returns
    -------
    HelpWindow or None
        The window, if one was opened.
    """
    if address := page_url(page):
        QDesktopServices.openUrl(QUrl(address))
        return None
    window = HelpWindow(parent)
    window.browser.show_page(page)
    window.show()
    return window


class HelpWindow(QDialog):
    """Shows pages of the documentation; links between them work."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("napari-ran: documentation")
        self.browser = PageBrowser()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.browser)
        self.resize(760, 600)


class PageBrowser(QTextBrowser):
    """Shows one page of Markdown, with its pictures where they were installed."""

    def __init__(self) -> None:
        super().__init__()
        self.setOpenLinks(False)
        self.setAccessibleName("Documentation")
        self.anchorClicked.connect(self._follow)
        self._folder = Path()
        self.page = ""

    def show_page(self, page: str) -> None:
        """Show a page by its file name."""
        file = page_file(page)
        self.page = page
        if file is None:
            self.setMarkdown(NO_TEXT)
            return
        self._folder = file.parent
        text = re.sub(r"<!--.*?-->", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        self.setMarkdown(re.sub(r"!\[([^\]]*)\]\(([^)]+)\)", self._picture, text))
        self.verticalScrollBar().setValue(0)

    def loadResource(self, kind: int, name: QUrl) -> Any:  # noqa: N802 (Qt's name)
        """Return a picture of the page, no wider than the window."""
        file = self._folder / name.path()
        if not file.is_file():
            return super().loadResource(kind, name)
        picture, width = QImage(str(file)), self.viewport().width() - 24
        smooth = Qt.TransformationMode.SmoothTransformation
        return picture if picture.width() <= width else picture.scaledToWidth(width, smooth)

    def _picture(self, found: re.Match[str]) -> str:
        """Return a picture as it was written, or what it shows in words where it was not installed."""
        return found[0] if (self._folder / found[2]).is_file() else f"*({found[1]})*"

    def _follow(self, link: QUrl) -> None:
        if link.scheme() in ("http", "https"):
            QDesktopServices.openUrl(link)
        elif link.path().endswith(".md"):
            self.show_page(link.path())
