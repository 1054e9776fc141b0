"""Time a newcomer's path in the viewer: it starts, the sample is opened and registered, Inspect shows the levels.

Menu entries are chosen and buttons clicked as a user would; each counts as a click. Two paths are walked, each in a
viewer of its own: along the Welcome tour, and by hand from the menus. Reading is not timed.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1280x720x24' python scripts/newcomer.py``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("NAPARI_RAN_MEMORY", "")  # a newcomer has used nothing before
STARTED = time.perf_counter()

PATHS = ("tour", "menus")
SECONDS = 900.0
"""Longest time for one step."""


class Newcomer:
    """Somebody at the viewer, whose clicks and seconds are counted."""

    def __init__(self) -> None:
        import napari
        from napari._qt.qt_event_loop import get_qapp

        self.app = get_qapp()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1280, 720)
        self.clicks, self.last = 0, STARTED
        self.app.processEvents()
        self.note("the viewer is open")

    def note(self, what: str) -> None:
        """Print what has been reached, and how long it took."""
        now = time.perf_counter()
        print(f"{what:<34}{now - self.last:>9.1f} s{now - STARTED:>9.1f} s{self.clicks:>8}", flush=True)
        self.last = now

    def wait(self, until: Callable[[], Any]) -> Any:
        """Let the viewer live until something is there, and return it."""
        end = time.monotonic() + SECONDS
        while not (found := until()):
            if time.monotonic() > end:
                raise SystemExit("the newcomer has waited too long")
            self.app.processEvents()
            time.sleep(0.005)
        return found

    def menu(self, *titles: str) -> None:
        """Choose an entry of the menu bar by its titles, each of which is a click."""
        bar = self.viewer.window._qt_window.menuBar()
        actions = bar.actions()
        for title in titles:
            action = next((one for one in actions if _words(one.text()).startswith(title)), None)
            if action is None:
                raise SystemExit(f"there is no '{title}' among {[_words(one.text()) for one in actions]}")
            self.clicks += 1
            if action.menu() is None:
                action.trigger()
            else:
                action.menu().aboutToShow.emit()
                actions = action.menu().actions()

    def click(self, button: Any) -> None:
        """Click a button with the mouse."""
        from qtpy.QtCore import Qt
        from qtpy.QtTest import QTest

        if not button.isVisible() or not button.isEnabled():
            raise SystemExit(f"'{button.text()}' cannot be clicked")
        self.clicks += 1
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def widget(self, kind: type) -> Any:
        """Wait for a widget of a kind to be docked and seen."""
        docked = self.viewer.window.dock_widgets
        return self.wait(
            lambda: next((one for one in docked.values() if isinstance(one, kind) and one.isVisible()), None)
        )

    def inspected(self) -> None:
        """Wait until Inspect shows the levels in the viewer."""
        from napari_ran.widgets.inspect import InspectWidget

        inspect = self.widget(InspectWidget)
        self.wait(lambda: inspect.layers.picture is not None)
        self.note("Inspect shows the levels")


def walk_tour() -> None:
    """Follow the Welcome tour to its first look into the levels."""
    newcomer = Newcomer()
    newcomer.menu("Layers", "Register", "Welcome (RAN)")
    from napari_ran.widgets.welcome import WelcomeWidget

    welcome = newcomer.widget(WelcomeWidget)
    newcomer.note("the tour is open")
    for what in ("the sample is open", "it is registered"):
        newcomer.click(welcome.next_button)
        newcomer.wait(lambda: welcome.shown)
        newcomer.note(what)
    newcomer.click(welcome.next_button)
    newcomer.inspected()
    newcomer.viewer.close()


def walk_menus() -> None:
    """Find the sample, Register and Inspect without the tour."""
    newcomer = Newcomer()
    newcomer.menu("File", "Open Sample", "Residual Aligner registration", "Sliding phantom")
    newcomer.wait(lambda: len(newcomer.viewer.layers) > 1)
    newcomer.note("the sample is open")
    newcomer.menu("Layers", "Register", "Register (RAN)")
    from napari_ran.widgets.register import RegisterWidget

    register = newcomer.widget(RegisterWidget)
    newcomer.click(register.register_button)
    newcomer.wait(lambda: register.result is not None and not register.busy)
    newcomer.note("it is registered")
    newcomer.click(register.outcome.inspect_button)
    newcomer.inspected()
    newcomer.viewer.close()


def _words(title: str) -> str:
    return title.replace("&", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", choices=PATHS, action="append", help="walk only this one; as often as wanted")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    paths = arguments.path or list(PATHS)
    if arguments.here:
        {"tour": walk_tour, "menus": walk_menus}[paths[0]]()
        return
    for path in paths:  # each in a process of its own, whose start counts
        print(f"{'by the ' + path:<34}{'step':>11}{'in all':>11}{'clicks':>8}", flush=True)
        subprocess.run([sys.executable, __file__, "--here", "--path", path], check=True)


if __name__ == "__main__":
    main()
