"""Choosing layers: combo boxes that follow the layer list and never lose the user's choice."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels, Layer, Points
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout
from superqt.utils import signals_blocked

import napari_ran as ran
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layers import Look, Source, own_result
from napari_ran.widgets._layout import add_captioned
from napari_ran.widgets._series import axes_of_space

NONE = "none"


class LayerChoices(QObject):
    """The layers that a registration is made of, as combo boxes.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen; call `follow_viewer` to keep up with them.
    parent : QObject
        The owner.

    Signals
    -------
    changed : ()
        Another layer was chosen, by the user or because one went.
    """

    changed = Signal()

    ROLES = {  # noqa: RUF012 (a table, read only)
        "fixed": (
            Image,
            "Fixed image",
            "The image that stays. Results lie on its grid. 2-D or 3-D, one channel; of a time series, what is shown.",
        ),
        "moving": (
            Image,
            "Moving image",
            "The image that is brought onto the fixed one. Its grid may differ; its number of dimensions may not.",
        ),
        "moving_labels": (
            Labels,
            "Moving labels",
            "Labels drawn on the moving image, carried along to the fixed image. They lead the refinement only where "
            "the advanced setting Labels weight is above 0.",
        ),
        "fixed_labels": (
            Labels,
            "Fixed labels",
            "Labels of the same structures on the fixed image: with both, the Dice overlap is reported.",
        ),
        "moving_landmarks": (
            Points,
            "Moving points",
            "Points on the moving image, carried along to the fixed image. They lead the refinement only where "
            "the advanced setting Points weight is above 0.",
        ),
        "fixed_landmarks": (
            Points,
            "Fixed points",
            "The same points on the fixed image, in the same order: with both, the distance (TRE, mm) is reported.",
        ),
    }
    OPTIONAL: tuple[str, ...] = ("moving_labels", "fixed_labels", "moving_landmarks", "fixed_landmarks")

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._chosen_by_user: set[str] = set()
        self.boxes: dict[str, QComboBox] = {}
        for role, (_, title, tip) in self.ROLES.items():
            box = combo(title, tip)
            box.setObjectName(role)
            box.activated.connect(self._remember)
            box.currentIndexChanged.connect(self.changed)
            self.boxes[role] = box
        self.refresh()

    def title(self, role: str) -> str:
        """Return the text beside a box."""
        return str(self.ROLES[role][1])

    def titles(self) -> dict[str, str]:
        """Return what the roles are called, for messages."""
        return {role: self.title(role) for role in self.ROLES}

    def add_to(self, layout: QFormLayout, *roles: str) -> None:
        """Put the boxes of some roles into a form layout, with their captions."""
        for role in roles:
            add_captioned(layout, self.title(role), self.boxes[role])

    def sources(self) -> tuple[dict[str, Source], Look]:
        """Return what is chosen, ready to be converted, and how it looks; of a time series, what the viewer shows.

        Raises
        ------
        InputError
            An image is missing, one is chosen twice, or a layer cannot be used.
        """
        layers = {role: layer for role in self.ROLES if (layer := self.layer(role)) is not None}
        for role in ("fixed", "moving"):
            if role not in layers:
                raise ran.InputError(role, "no image is chosen", "Open two images and choose one here")
        if layers["fixed"] is layers["moving"]:
            problem = f"'{layers['fixed'].name}' is chosen as fixed and as moving image"
            raise ran.InputError("moving", problem, "Choose two different layers")
        space = axes_of_space(layers)
        point = self._viewer.dims.point
        sources = {role: Source.of(layer, role, space, point) for role, layer in layers.items()}
        return sources, Look.of(layers["fixed"], layers["moving"], space)

    def layer(self, role: str) -> Layer | None:
        """Return the layer that is chosen for a role, or None."""
        found = self.boxes[role].currentData()
        return found if found is not None and found in self._viewer.layers else None

    def choose(self, role: str, layer: Layer | None) -> None:
        """Choose a layer, as the user would."""
        self._chosen_by_user.add(role)
        self._select(self.boxes[role], layer)

    def swap(self) -> None:
        """Exchange fixed and moving, with their labels, points and masks."""
        for kind in sorted({role.removeprefix("fixed") for role in self.ROLES if role.startswith("fixed")}):
            fixed, moving = self.layer(f"fixed{kind}"), self.layer(f"moving{kind}")
            self.choose(f"fixed{kind}", moving)
            self.choose(f"moving{kind}", fixed)

    def refresh(self, event: Any = None) -> None:
        """Show the layers that there are; what was chosen stays chosen as long as it exists."""
        before = {role: self.layer(role) for role in self.boxes}
        for role, box in self.boxes.items():
            if before[role] is None and (role not in self.OPTIONAL or box.currentData() is not None):
                self._chosen_by_user.discard(role)  # what was chosen is gone
        for role, box in self.boxes.items():
            with signals_blocked(box):
                box.clear()
                if role in self.OPTIONAL:
                    box.addItem(NONE, None)
                for layer in self._candidates(role):
                    box.addItem(layer.name, layer)
                chosen = before[role]
                if chosen is None and role not in self._chosen_by_user:
                    chosen = self._guess(role)
                self._select(box, chosen)
            box.setEnabled(box.count() > 0)
            if box.count() == 0:
                box.setPlaceholderText("open an image first")
        if before != {role: self.layer(role) for role in self.boxes}:
            self.changed.emit()

    def follow_viewer(self, follow: bool) -> None:
        """Follow the layer list, or let go of it: before the widget goes."""
        layers = self._viewer.layers
        for event in (layers.events.inserted, layers.events.removed, layers.events.reordered):
            (event.connect if follow else event.disconnect)(self._layers_changed)
        for layer in layers:
            (layer.events.name.connect if follow else layer.events.name.disconnect)(self.refresh)
        if follow:
            self.refresh()

    def _layers_changed(self, event: Any) -> None:
        if event.type == "inserted":
            event.value.events.name.connect(self.refresh)
        elif event.type == "removed":
            event.value.events.name.disconnect(self.refresh)
        self.refresh()

    def _remember(self) -> None:
        self._chosen_by_user.add(self.sender().objectName())

    def _candidates(self, role: str) -> list[Layer]:
        """Layers of the role's type; of our own results those that one may want to register again."""
        kind = self.ROLES[role][0]
        again = (None, "warped", "labels", "landmarks")
        return [layer for layer in self._viewer.layers if type(layer) is kind and own_result(layer) in again]

    def _guess(self, role: str) -> Layer | None:
        """Choose by the word in the layer's name; images also by their order."""
        side, _, annotation = role.partition("_")
        candidates = [layer for layer in self._candidates(role) if own_result(layer) is None]
        if annotation in ("labels", "mask"):  # masks and rigid regions are label maps too
            candidates = [layer for layer in candidates if ("mask" in layer.name.lower()) == (annotation == "mask")]
            candidates = [layer for layer in candidates if "rigid" not in layer.name.lower()]
        named = next((layer for layer in candidates if side in layer.name.lower()), None)
        if named is not None or annotation:
            return named
        free = [layer for layer in candidates if not any(word in layer.name.lower() for word in ("fixed", "moving"))]
        rank = 0 if side == "fixed" or len(free) < len(candidates) else 1
        return free[rank] if rank < len(free) else None

    @staticmethod
    def _select(box: QComboBox, layer: Layer | None) -> None:
        for index in range(box.count()):
            if box.itemData(index) is layer:
                box.setCurrentIndex(index)
                return
        box.setCurrentIndex(0 if box.count() and box.itemData(0) is None else -1)


class RegistrationChoices(LayerChoices):
    """The same with masks, which say where the images count, and regions that move rigidly."""

    ROLES = (
        LayerChoices.ROLES
        | {
            f"{side}_mask": (
                Labels,
                f"{side.capitalize()} mask",
                f"Where the {side} image counts (not 0): the affine alignment and the refinement of the field compare "
                "only there. Chosen by itself when its name has the words mask and the image's side.",
            )
            for side in ("fixed", "moving")
        }
        | {
            "rigid_regions": (
                Labels,
                "Rigid regions",
                "Labels on the fixed image of what must not deform, such as bones: the refinement of the field moves "
                "each rigidly. Chosen by itself when its name has the word rigid.",
            )
        }
    )
    OPTIONAL: tuple[str, ...] = (*LayerChoices.OPTIONAL, "fixed_mask", "moving_mask", "rigid_regions")
