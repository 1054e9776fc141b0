"""Errors: what is said, what can be copied, and where the how-to is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QUrl
from qtpy.QtWidgets import QApplication, QShortcut

import napari_ran as ran
from napari_ran import documentation
from napari_ran.errors import NotEnoughMemoryError
from napari_ran.widgets import _help
from napari_ran.widgets._help import PageBrowser
from napari_ran.widgets.apply import ApplyWidget
from napari_ran.widgets.cohort import CohortWidget
from napari_ran.widgets.compare import CompareWidget
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.welcome import WelcomeWidget


def raised(error: Exception) -> Exception:
    """An error with a traceback, as a thread hands it over."""
    try:
        raise error
    except Exception as caught:
        return caught


def test_the_details_have_all_that_a_report_needs(widget_in: Any, viewer: Any) -> None:
    _, widget = widget_in(viewer)
    widget.form.set(widget.form.get().replace(spacing=2.25))
    widget.message.show_error(raised(ZeroDivisionError(f"in {Path.home()}/secret/data")), {})
    assert "Unexpected error" in widget.message.text.text()
    widget.message.copy_button.click()
    clipboard = QApplication.clipboard()
    assert clipboard is not None
    text = clipboard.text()
    assert text == widget.message.details()
    assert text.startswith("ZeroDivisionError: in ~/secret/data")
    assert f"napari-ran: {ran.__version__}" in text
    for word in ("napari:", "torch:", "Python:", "Qt:", "widget: RegisterWidget", "Traceback", "spacing: 2.25"):
        assert word in text
    assert "in raised" in text
    assert str(Path.home()) not in text
    assert widget.message.copy_button.text() == "Copied"
    widget.message.show_error(ran.InputError("fixed", "gone", "Open it"), {"fixed": "Fixed image"})
    assert widget.message.copy_button.text() == "Copy details"
    assert "ZeroDivisionError" not in widget.message.details()


def test_settings_that_cannot_be_read_are_told_of(widget_in: Any, viewer: Any) -> None:
    _, widget = widget_in(viewer)
    widget.form.editors["preset"].addItem("nonsense", "nonsense")
    widget.form.editors["preset"].setCurrentIndex(widget.form.editors["preset"].count() - 1)
    widget.message.show_error(ran.InputError("preset", "is unknown", "Choose another"), {})
    assert "cannot be used:" in widget.message.details()


def test_the_how_to_is_that_of_the_widget_or_of_the_error(widget_in: Any, viewer: Any) -> None:
    _, widget = widget_in(viewer)
    widget.message.show_error(ran.InputError("fixed", "gone", "Open it"), {})
    assert widget.message.page == "quickstart.md"
    widget.message.show_error(NotEnoughMemoryError("device", "too little", "Set spacing"), {})
    assert widget.message.page == "memory.md"
    widget.message.help_button.click()
    assert widget.message.help.browser.page == "memory.md"
    assert "memory" in widget.message.help.browser.toPlainText().lower()
    widget.message.help.close()


def test_the_help_key_opens_the_page_of_the_widget(widget_in: Any) -> None:
    _, widget = widget_in()
    key = next(shortcut for shortcut in widget.findChildren(QShortcut) if shortcut.objectName() == "help")
    key.activated.emit()
    assert widget.help.browser.page == "quickstart.md"
    widget.help.close()


@pytest.mark.parametrize(
    "kind",
    [WelcomeWidget, RegisterWidget, InspectWidget, TrainWidget, CompareWidget, ApplyWidget, CohortWidget],
)
def test_every_widget_has_a_page_that_exists(kind: Any) -> None:
    assert documentation.page_file(kind.help_page) is not None
    assert kind.help_page != "index.md"


def test_a_published_page_is_opened_in_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(_help.QDesktopServices, "openUrl", opened.append)
    monkeypatch.setattr(documentation, "ADDRESS", "https://docs.example.org/ran")
    assert _help.open_page("memory.md") is None
    assert [url.toString() for url in opened] == ["https://docs.example.org/ran/memory/"]


def test_links_between_pages_are_followed_and_outer_ones_handed_on(qtbot: Any, monkeypatch: Any) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(_help.QDesktopServices, "openUrl", opened.append)
    browser = PageBrowser()
    qtbot.addWidget(browser)
    browser.show_page("index.md")
    assert "<!--" not in browser.toPlainText()
    browser.anchorClicked.emit(QUrl("limits.md"))
    assert browser.page == "limits.md"
    browser.anchorClicked.emit(QUrl("https://arxiv.org/abs/2203.04290"))
    assert len(opened) == 1


def test_without_installed_pages_that_is_said(qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    browser = PageBrowser()
    qtbot.addWidget(browser)
    monkeypatch.setattr(documentation, "_PLACES", (tmp_path,))
    browser.show_page("index.md")
    assert "was not installed" in browser.toPlainText()
    (tmp_path / "index.md").write_text("# Title\n\n![A picture of it](images/none.png)\n", encoding="utf-8")
    browser.show_page("index.md")
    assert "(A picture of it)" in browser.toPlainText()
