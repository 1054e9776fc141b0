"""The Inspect widget: what each level of the network did with a pair, live in the viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QVBoxLayout

import napari_ran as ran
from napari_ran.introspect.inspection import Inspection
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._layout import page_tabs
from napari_ran.widgets._shortcuts import bind, bind_pages
from napari_ran.widgets._timers import single_shot
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.inspection.ablation import AblationPage
from napari_ran.widgets.inspection.ablation_work import aligner_config
from napari_ran.widgets.inspection.export import ExportBar
from napari_ran.widgets.inspection.filmstrip import Filmstrip, FilmstripWindow
from napari_ran.widgets.inspection.foreign import FieldDialog
from napari_ran.widgets.inspection.header import Header
from napari_ran.widgets.inspection.layers import InspectLayers
from napari_ran.widgets.inspection.levels import LevelsPage
from napari_ran.widgets.inspection.probe import ProbePage
from napari_ran.widgets.inspection.recent import recent_of
from napari_ran.widgets.inspection.separability import SeparabilityPage
from napari_ran.widgets.inspection.session import Session, loading_work, metrics_work, picture_work, thumbnail_work
from napari_ran.widgets.inspection.theory import TheoryPage
from napari_ran.widgets.inspection.views import Choice, Picture

WELCOME = "Register a pair with the Register widget, or choose a saved result."

REST_MS = 120
"""Thumbnails and figures wait until the slider has rested for so long."""

STEP_POLL_MS = 8
"""How often to look whether a view is ready: the user waits for it."""

VIEW_MS = 25
"""Shortest time between two drawings of the arrows while the view moves."""


class InspectWidget(DockedWidget):
    """Step through the levels of a result, probe voxels, switch parts off, compare with the theory.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Where the layers are shown; its latest registration is inspected.
    """

    help_page = "levels.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.session: Session | None = None
        self.whole: Session | None = None
        self._wanted: Choice | None = None
        self._grounds: dict[str, Any] = {}
        self.layers = InspectLayers(napari_viewer)
        self.recent = recent_of(napari_viewer)
        self.stepper = Worker(self, poll_ms=STEP_POLL_MS)
        self.painter, self.measurer, self.loader = (Worker(self) for _ in range(3))
        self.levels = LevelsPage(napari_viewer)
        self.filmer = Filmstrip(self)
        self.probe = ProbePage(napari_viewer, self.layers)
        self.ablation = AblationPage()
        self.separability = SeparabilityPage(napari_viewer, self.layers)
        self.theory = TheoryPage(napari_viewer)
        self.export = ExportBar()
        self._rest = single_shot(self, REST_MS, self._rested)
        self._view = single_shot(self, VIEW_MS, self._view_moved)
        self._build()
        self._connect()
        self._follow_viewer(True)
        self.show_latest()

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        self.header = Header(WELCOME, self.export.button)
        self.title, self.note = self.header.title, self.header.note
        across = "How often neighbouring points are moved differently, and across which boundary"
        pages = (
            ("Levels", self.levels, "Step through the levels and choose what is shown of each"),
            ("Probe", self.probe, "How the displacement of the voxel under the mouse came about"),
            ("Ablation", self.ablation, "Switch parts of the network off and see what changes"),
            ("Separability", self.separability, across),
            ("Design", self.theory, "What the layout of the levels can and cannot reach"),
        )
        self.tabs = page_tabs("Pages of Inspect", pages)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.header)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.export)
        layout.addWidget(self.message)
        self.setMinimumWidth(360)
        bind(self, back=self.levels.back, forward=self.levels.forward, play=self.levels.play_button)
        bind_pages(self, self.tabs)

    def _connect(self) -> None:
        self.header.latest.triggered.connect(self.show_latest)
        self.header.saved.triggered.connect(self._ask_what_to_open)
        self.header.field.triggered.connect(self._ask_for_field)
        self.levels.filmstrip_wanted.connect(self.draw_filmstrip)
        self.filmer.busy.connect(self.levels.filmstrip.setDisabled)
        self.levels.chosen.connect(self._show_choice)
        self.tabs.currentChanged.connect(self._tab_changed)
        self.ablation.ablated.connect(self._show_ablated)
        self.stepper.stepped.connect(self._on_picture)
        self.painter.stepped.connect(self._on_thumbnail)
        self.measurer.finished.connect(self._on_metrics)
        self.loader.finished.connect(self.show_inspection)
        self.loader.failed.connect(self._on_load_failed)
        for part in (self.filmer, self.probe, self.ablation, self.separability, self.export):
            part.failed.connect(self.complain)
        for worker in (self.stepper, self.painter, self.measurer):
            worker.failed.connect(self.complain)

    # ---------------------------------------------------------------- what is inspected

    def show_latest(self) -> None:
        """Inspect the latest registration of this viewer, if there is one."""
        result = self.recent.result
        self.header.latest.setEnabled(result is not None)
        if result is not None:
            self.show_inspection(Inspection.from_registration(result))

    def open(self, folder: str | Path) -> None:
        """Inspect a result that was saved into a folder."""
        self.message.hide()
        self.title.setText(f"Reading {Path(folder).name}…")
        self.loader.start(loading_work(Path(folder)))

    def show_inspection(self, inspection: Inspection) -> None:
        """Inspect something else; what was shown before goes."""
        self._drop_work()
        self.message.hide()
        self.layers.remove()
        self._grounds.clear()
        self.whole = Session(inspection)
        self.ablation.show_session(self.whole)
        self.export.show_inspection(inspection)
        self._show_session(self.whole)
        config = aligner_config(inspection)
        if config is not None:
            self.theory.show_config(config)
        self.header.show_name(inspection.name)
        self.header.say(inspection.note)

    def _show_session(self, session: Session) -> None:
        """Show another session in the viewer: the whole network's, or of what remains of it."""
        self._drop_work()
        self._grounds.clear()
        self.session = session
        self.probe.show_session(session)
        self.separability.show_session(session)
        self.levels.show_session(session)

    def _show_ablated(self, remaining: Inspection | None) -> None:
        """Show the network without some parts, with the whole network's contrast limits; None for the whole one."""
        if self.whole is None:
            return
        first = self.session is self.whole and remaining is not None
        self._show_session(self.whole if remaining is None else Session(remaining, self.whole.limits))
        if first:  # what one wants to see is the result
            stages = self.whole.inspection.stages
            output = next((stage.index for stage in stages if stage.kind == "output"), len(stages) - 1)
            self.levels.choose(quantity="warped", stage=output)
        self.header.show_name((self.whole.inspection if remaining is None else remaining).name)

    def _ask_what_to_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open a saved result")
        if folder:
            self.open(folder)

    def _ask_for_field(self) -> None:
        dialog = FieldDialog(self.viewer, self)
        if dialog.exec():
            self.open_field(dialog)

    def open_field(self, dialog: FieldDialog) -> None:
        """Inspect the field that a dialog describes."""
        self.message.hide()
        try:
            self.loader.start(dialog.work())
        except ran.InputError as error:
            self.complain(error)

    def _on_load_failed(self, error: Exception) -> None:
        if self.session is None:
            self.title.setText(WELCOME)
        else:
            self.header.show_name(self.session.inspection.name)
        self.complain(error)

    def complain(self, error: Exception) -> None:
        """Show an error in words."""
        self.message.show_error(error, {})

    # ---------------------------------------------------------------- stepping

    def _show_choice(self, choice: Choice) -> None:
        """Show a view: at once where it has been made already, else as soon as it is."""
        session = self.session
        if session is None:
            return
        allowed = session.allowed(choice)
        self._wanted = allowed
        self._rest.start()
        self.probe.show_choice(choice.stage, choice.direction)
        self.separability.show_direction(choice.direction)
        if allowed is None:
            self._show_nothing(session, choice)
            return
        whole = not self.layers.flat()
        if session.ready(allowed, whole):
            self._apply(session, session.picture(allowed))
        missing = [c for c in (allowed, *session.neighbours(allowed)) if not session.ready(c, whole)]
        if missing:
            self.stepper.start(picture_work(session, missing, whole))

    def _show_nothing(self, session: Session, choice: Choice) -> None:
        """Leave only the ground where the stage has no such quantity; the list's tool tip says why."""
        self.layers.hide()
        self.levels.nothing_to_show(f"{session.inspection.why_not(*choice.address)}.")

    def _on_picture(self, picture: Picture) -> None:
        if self.session is not None and picture.choice == self._wanted and self.layers.picture is not picture:
            self._apply(self.session, picture)

    def _apply(self, session: Session, picture: Picture) -> None:
        self._show_ground(session, picture.choice.direction)
        self.layers.show(picture)
        self.levels.applied(picture)

    def _show_ground(self, session: Session, direction: str) -> None:
        """Show the image that the field lives on."""
        if direction not in self._grounds:
            image = session.inspection.image(direction)
            self._grounds[direction] = None if image is None else (image.array.T, image)
        if self._grounds[direction] is not None:
            array, image = self._grounds[direction]
            self.layers.ground(array, image.grid, f"inspect · {image.name}")

    def _rested(self) -> None:
        """Measure and draw small what the slider has come to rest on."""
        if self.session is None:
            return
        choice = self.levels.choice
        key = (choice.stage, choice.direction)
        missing = self.levels.missing_thumbnails()
        if missing:
            self.painter.start(thumbnail_work(self.session, *key, missing))
        if not self.session.has(choice):
            self.levels.metrics.clear()
            return
        self.levels.show_metrics(self.session.metrics.get(key))
        if key not in self.session.metrics:
            self.measurer.start(metrics_work(self.session, *key))

    @property
    def film(self) -> FilmstripWindow | None:
        """The window of the last filmstrip, if one was drawn."""
        return self.filmer.window

    def draw_filmstrip(self) -> None:
        """Draw all levels at the current slice."""
        if self.session is not None:
            position = self.layers.to_world(self.layers.position(self.session.ndim), self.session.ndim)
            self.filmer.draw(self.session.inspection, -1 - self.layers.across, position, self.levels.direction)

    def _on_thumbnail(self, made: tuple[str, int, str, Any]) -> None:
        self.levels.show_thumbnail(*made)

    def _on_metrics(self, made: tuple[tuple[int, str], Any]) -> None:
        key, metrics = made
        if key == (self.levels.stage, self.levels.direction):
            self.levels.show_metrics(metrics)

    def _tab_changed(self, index: int) -> None:
        (self.probe.enter if self.probe.active else self.probe.leave)()
        if self.separability.isVisible():
            self.separability.refresh()
        else:
            self.layers.remove(["pairs"])

    # ---------------------------------------------------------------- following the viewer

    def _view_changed(self, event: Any = None) -> None:
        """Draw anew soon; many changes in a row are one."""
        if not self._view.isActive():
            self._view.start()

    def _view_moved(self) -> None:
        if self.session is None or not self._open:
            return
        self.levels.show_plane(self.layers.plane(self.session.ndim))
        self.layers.draw_arrows()

    def _new_result(self) -> None:
        if self._open:
            self.show_latest()

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work, take the layers away and let go of the viewer."""
        if not self._open:
            return
        self.levels.stop()
        self._drop_work()
        for part in (self.ablation, self.separability, self.theory, self.export, self.filmer):
            part.stop()
        super().shut()
        self.layers.remove()

    def _drop_work(self) -> None:
        for worker in (self.stepper, self.painter, self.measurer):
            worker.drop()
        self._rest.stop()

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        dims = self.viewer.dims.events
        for signal in (dims.point, dims.ndisplay, dims.order, self.layers.camera.events.zoom):
            (signal.connect if follow else signal.disconnect)(self._view_changed)
        self.probe.follow_mouse(follow)
        (self.recent.changed.connect if follow else self.recent.changed.disconnect)(self._new_result)
