"""Photograph the Welcome tour beside Inspect, at its step about the heads, for ``docs/first-steps.md``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1280x720x24' python scripts/welcome_picture.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from photography import shrink, wait
from screenshots import Photographer

from napari_ran.widgets.welcome import WelcomeWidget
from napari_ran.widgets.welcoming.steps import STEPS

SHOWN = "heads"
"""The step that is photographed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=Path("docs/images/welcome.png"))
    parser.add_argument("--seconds", type=float, default=900, help="longest time for the registration")
    arguments = parser.parse_args()
    camera = Photographer(arguments.file.parent)
    camera.viewer.window.remove_dock_widget(camera.widget)
    _, welcome = camera.viewer.window.add_plugin_dock_widget("napari-ran", "Welcome (RAN)")
    assert isinstance(welcome, WelcomeWidget)
    wait(1.0)
    for step in STEPS:
        welcome.next_button.click()
        if not wait(arguments.seconds, lambda: welcome.shown):
            raise SystemExit(f"the tour stopped at '{step.title}'")
        wait(3.0)
        if step.key == SHOWN:
            break
    camera.shoot(arguments.file.stem)
    shrink(arguments.file)
    camera.viewer.close()


if __name__ == "__main__":
    main()
