"""What the steps of the tour do: they find or open the real widgets and use them as the user would."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.compat import isalive

import napari_ran as ran
from napari_ran.models import Ablation
from napari_ran.widgets._remembered import keep, recall
from napari_ran.widgets._settings import setting
from napari_ran.widgets.inspection.recent import recent_of
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.welcoming.steps import Needs

PLUGIN = "napari-ran"
NAMES = {"fixed": "phantom fixed", "moving": "phantom moving"}
"""What the layers of the samples are called."""

CORONAL = (1, 0, 2)
"""Order of the viewer's axes: along this plane the halves slide."""

PLACES = {3: (0.36, 0.5, 0.5), 2: (0.4, 0.5)}
"""Where the voxel lies that is probed, by the number of axes, in shares of the image."""


class Guide:
    """Uses the viewer for the tour. It holds on to nothing that the user may close: it looks every time.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that the tour goes through.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._register: RegisterWidget | None = None

    # ---------------------------------------------------------------- what is there

    def has(self, needs: Needs) -> bool:
        """Whether what a step needs is there."""
        if needs is Needs.NOTHING:
            return True
        return self.pair is not None if needs is Needs.SAMPLE else self.result is not None

    @property
    def pair(self) -> dict[str, Any] | None:
        """The sample's images among the viewer's layers, or None."""
        layers = {layer.name: layer for layer in self._viewer.layers}
        found = {role: layers[name] for role, name in NAMES.items() if name in layers}
        return found if len(found) == len(NAMES) else None

    @property
    def result(self) -> ran.Registration | None:
        """The registration of the sample, with its levels, or None."""
        found = recent_of(self._viewer).result
        ours = found is not None and found.fixed.name == NAMES["fixed"] and found.trace is not None
        return found if ours else None

    @property
    def registering(self) -> bool:
        """Whether the Register widget is there and at work."""
        widget = self._register
        return widget is not None and isalive(widget) and widget.parent() is not None and widget.busy

    # ---------------------------------------------------------------- the steps

    def open_sample(self) -> None:
        """Open the sample that the plugin's settings name, unless it is open; its images alone are seen."""
        if self.pair is None:
            self._viewer.open_sample(PLUGIN, setting("start", "sample"))
        pair = self.pair
        if pair is None:
            raise ran.InputError("sample", "the layers of the sample are not there", "Open it from File > Open Sample")
        ndim = pair["fixed"].ndim
        if ndim == 3 and self._viewer.dims.ndim == 3:
            self._viewer.dims.ndisplay = 2
            self._viewer.dims.order = CORONAL
            middle = pair["fixed"].extent.world.mean(0)
            self._viewer.dims.set_point(CORONAL[0], middle[CORONAL[0]])
        for layer in self._viewer.layers:
            layer.visible = layer in pair.values()
        self._viewer.layers.selection.active = pair["moving"]
        self._viewer.reset_view()

    def register(self) -> None:
        """Press Register for the sample, with the standard settings; what the user had set last stays remembered."""
        widget = self._register = self._opened("Register (RAN)")
        if widget.busy:
            return
        pair, before = self.pair, recall("register")
        assert pair is not None
        widget.form.reset()
        for role, layer in pair.items():
            widget.choices.choose(role, layer)
        widget.register()
        if before:
            keep("register", before)

    def levels(self) -> None:
        """Play the field level by level."""
        inspect = self._inspecting(0)
        inspect.levels.choose(quantity="field", stage=0)
        inspect.levels.choose(style="arrows")
        inspect.levels.play_button.setChecked(True)

    def increment(self) -> None:
        """Show what the finest level added."""
        inspect = self._inspecting(0)
        inspect.levels.choose(quantity="increment", stage=self._finest(inspect))
        inspect.levels.choose(style="arrows")

    def heads(self) -> None:
        """Show which head counts where, at the finest level."""
        inspect = self._inspecting(0)
        inspect.levels.choose(quantity="masks", stage=self._finest(inspect))
        inspect.levels.choose(style="blend")

    def probe(self) -> None:
        """Probe a voxel beside the sliding boundary and keep it."""
        inspect = self._inspecting(1)
        last = len(inspect.session.inspection.stages) - 1
        inspect.levels.choose(quantity="field", stage=last)
        grid = inspect.session.inspection.get("field", last).grid
        inspect.probe.probe_at(grid.to_world(np.array(PLACES[grid.ndim]) * grid.shape))
        inspect.probe.pin()

    def ablation(self) -> None:
        """Switch the first head of the finest level off."""
        inspect = self._inspecting(2)
        finest = inspect.whole.inspection.stages[self._finest(inspect)]
        inspect.ablation.switch(Ablation(heads=frozenset({(finest.level, 0)})))

    # ---------------------------------------------------------------- the real widgets

    def _opened(self, name: str) -> Any:
        """Return a widget of the plugin, opened if it is not there, and bring its dock to the front."""
        dock, widget = self._viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
        dock.show()
        dock.raise_()
        return widget

    def _inspecting(self, page: int) -> Any:
        """Return the Inspect widget with the sample's result and all its parts on, at a page, at rest."""
        inspect = self._opened("Inspect (RAN)")
        inspect.levels.stop()
        assert self.result is not None
        if inspect.whole is None or inspect.whole.inspection.trace is not self.result.trace:
            inspect.show_latest()
        elif inspect.session is not inspect.whole:
            inspect.ablation.reset()
        inspect.tabs.setCurrentIndex(page)
        return inspect

    @staticmethod
    def _finest(inspect: Any) -> int:
        """Return the number of the stage of the finest level."""
        return int(max(stage.index for stage in inspect.whole.inspection.stages if stage.level is not None))
