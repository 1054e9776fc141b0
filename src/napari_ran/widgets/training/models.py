"""The page of models: the bundled and the user's own, with their cards."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QWidget,
)

import napari_ran as ran
from napari_ran.io.checkpoints import ModelCard
from napari_ran.io.own_models import export_model, own_models, remove_model, rename_model
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import page_column
from napari_ran.widgets._models import models

_FEWEST, _MOST = 4, 12
"""Models that the list is high enough for, at least and at most."""

_NAMES = {
    "dice": "Dice",
    "dice_unseen_subjects": "Dice, unseen subjects",
    "dice_unseen_subjects_affine": "Dice, unseen subjects, after affine",
    "epe": "End-point error (voxels)",
    "epe_visible": "End-point error where visible (voxels)",
    "tre_mm": "Target registration error (mm)",
    "similarity": "Dissimilarity",
    "loss": "Loss",
    "folding_percent": "Folding (%)",
    "pairs": "Pairs measured",
    "better": "Pairs better than doing nothing",
}
UNREADABLE = "The file is damaged or was not written by this package. Remove it, or put a sound copy in its place."


class ModelsPage(QWidget):
    """A list of models, the chosen one's card, and what can be done with it.

    Signals
    -------
    failed : Exception
        What kept a model from being renamed, exported or removed.
    said : str
        What was done, in a sentence.
    """

    failed = Signal(object)
    said = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._cards: dict[str, ModelCard] = {}
        self.list = QListWidget()
        self.list.setSpacing(1)
        self.list.setAccessibleName("Models")
        self.list.setToolTip("<p>Your own models and the bundled ones; the card of the chosen one is below</p>")
        self.card = QLabel()
        self.card.setWordWrap(True)
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.card.setAccessibleName("Card of the model")
        self.rename_button = button("Rename…", "Give a model of yours another name", self._ask_for_name)
        tip = "Copy the model with its card to a file that others can use"
        self.export_button = button("Export…", tip, self._ask_for_file)
        tip = "Delete a model of yours for good; bundled ones stay"
        self.remove_button = button("Remove…", tip, self._ask_to_remove)
        row = QHBoxLayout()
        for part in (self.rename_button, self.export_button, self.remove_button):
            row.addWidget(part)
        page_column(self, self.list, row, self.card)
        self.list.currentItemChanged.connect(self._show_card)
        models.changed.connect(self.refresh)
        self.refresh()

    @property
    def chosen(self) -> str:
        """Name of the chosen model, empty if there is none."""
        item = self.list.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item is not None else ""

    def refresh(self) -> None:
        """List the models that there are now."""
        before, own = self.chosen, own_models()
        self._cards = {card.name: card for card in ran.available_weights()}
        self.list.clear()
        for name in sorted(self._cards.keys() | own.keys(), key=lambda name: (name not in own, name)):
            kind = "yours" if name in own else "bundled"
            item = QListWidgetItem(f"{name}   ({kind}{'' if name in self._cards else ', damaged'})")
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.list.addItem(item)
        row = max(self.list.sizeHintForRow(0), self.list.fontMetrics().height())
        rows = min(max(self.list.count(), _FEWEST), _MOST)
        self.list.setFixedHeight((row + 2) * rows + 2 * self.list.frameWidth() + 4)
        self.choose(before)

    def choose(self, name: str) -> None:
        """Choose a model by its name; the first one where there is none of that name."""
        names = [self.list.item(row).data(Qt.ItemDataRole.UserRole) for row in range(self.list.count())]
        if names:
            self.list.setCurrentRow(names.index(name) if name in names else 0)
        self._show_card()

    def rename(self, new: str) -> None:
        """Give the chosen model another name."""
        name = self.chosen
        if self._done(lambda: rename_model(name, new), f"'{name}' is called '{new}' now."):
            self.choose(new)

    def export(self, path: str | Path) -> None:
        """Copy the chosen model to a file."""
        self._done(lambda: export_model(self.chosen, path), f"Exported to {path}.")

    def remove(self) -> None:
        """Delete the chosen model."""
        name = self.chosen
        self._done(lambda: remove_model(name), f"'{name}' was removed.")

    def _done(self, action: Callable[[], object], text: str) -> bool:
        try:
            action()
        except ran.RanError as error:
            self.failed.emit(error)
            return False
        models.changed.emit()
        self.said.emit(text)
        return True

    def _show_card(self) -> None:
        name = self.chosen
        own = name in own_models()
        self.rename_button.setEnabled(own)
        self.remove_button.setEnabled(own)
        self.export_button.setEnabled(own and name in self._cards)
        self.card.setText(card_text(self._cards[name]) if name in self._cards else UNREADABLE if name else "")

    def _ask_for_name(self) -> None:
        new, sure = QInputDialog.getText(self, "Rename the model", "New name:", text=self.chosen)
        if sure and new != self.chosen:
            self.rename(new.strip())

    def _ask_for_file(self) -> None:
        name = f"{self.chosen}.safetensors"
        path, _ = QFileDialog.getSaveFileName(self, "Export the model", name, "Weights (*.safetensors)")
        if path:
            self.export(path)

    def _ask_to_remove(self) -> None:
        question = f"Remove the model '{self.chosen}' for good?"
        if QMessageBox.question(self, "Remove the model", question) == QMessageBox.StandardButton.Yes:
            self.remove()


def card_text(card: ModelCard) -> str:
    """Return a card as rich text."""
    rows = {
        "Structure": f"{card.preset}, {card.ndim}-D",
        "Learned from": card.data,
        "Objective": card.objective,
        "Training": f"{card.steps:,} steps, {card.minutes:g} minutes, seed {card.seed}",
        "Measured": "\n".join(figures_of(card)),
        "Looks at a pair": card.looks,
        "Limits": card.limits,
        "Licence": card.licence,
    }
    lines = "".join(
        f"<tr><td style='padding: 0 10px 5px 0; white-space: nowrap'><b>{head}</b></td>"
        f"<td style='padding-bottom: 5px'>{html.escape(text).replace(chr(10), '<br>')}</td></tr>"
        for head, text in rows.items()
        if text
    )
    return f"<table cellspacing='0' cellpadding='0'>{lines}</table>"


def figures_of(card: ModelCard) -> list[str]:
    """Return a card's figures in words, each with that of doing nothing where it is known."""
    figures, order = card.figures, list(_NAMES)
    lines = []
    for name in sorted(figures, key=lambda name: order.index(name) if name in order else len(order)):
        if name.endswith("_identity") and name.removesuffix("_identity") in figures:
            continue  # said beside the other
        line = f"{_NAMES.get(name, name.replace('_', ' '))} {_number(figures[name])}"
        still = figures.get(f"{name}_identity")
        lines.append(line if still is None else f"{line}, doing nothing {_number(still)}")
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
