"""The first page of the Train widget: what to learn from, from where to start, for how long."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QFormLayout, QGroupBox, QLabel, QPushButton, QVBoxLayout, QWidget

import napari_ran as ran
from napari_ran.config import PRESETS, TrainConfig
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._devices import device_choices
from napari_ran.widgets._forms import ConfigForm, combo
from napari_ran.widgets._layout import Section, form_layout, page_column
from napari_ran.widgets._paths import PathRow
from napari_ran.widgets._settings_file import SettingsRow
from napari_ran.widgets.training.pairs import LayerPairs, PairChoices, ValidationChoices, all_pairs, chosen_pair
from napari_ran.widgets.training.runs import free_name

PATHS = {
    "folder": ("", True),
    "dataset": ("Data sets (*.json)", True),
    "pairs": ("Lists (*.csv)", False),
}
"""What the path of a source may be: the filter of its files, and whether it may be a folder."""

AT_CLOSE = {False: "stop, keep the best weights", True: "go on in the background"}
"""What becomes of a training when the viewer is closed: whether it outlives it, and in words."""

SOURCES = {
    "layers": ("two layers of the viewer", "pairs"),
    "all": ("all pairs of image layers", "pairs"),
    "generated": ("generated pairs", "generated"),
    "folder": ("a folder of images", "folder"),
    "dataset": ("a data set (Learn2Reg, BIDS)", "dataset"),
    "pairs": ("a list of pairs (CSV)", "pairs"),
}
"""Where pairs may come from: what it is called here, and in the settings."""

LABELS = {
    "data.source": "Learn from",
    "data.path": "Where",
    "data.labels": "Label maps",
    "data.shape": "Grid (voxels)",
    "model.start": "Start from",
    "model.preset": "Structure",
    "model.ndim": "Axes",
    "objective.compare": "Similarity",
    "objective.dice": "Weight of labels",
    "objective.landmarks": "Weight of points",
    "objective.smooth": "Smoothness",
    "objective.field": "Weight of true field",
    "budget.minutes": "Minutes",
    "budget.steps": "Steps, at most",
    "validation.holdout": "Held out",
    "validation.every": "Measure every (steps)",
    "compute.device": "Compute on",
    "name": "Name",
}
"""What a setting is called in the form, where its name does not say it."""

PLAIN = {
    "method": (
        "model.start",
        "model.preset",
        *(f"objective.{name}" for name in ("compare", "smooth", "dice", "landmarks")),
    ),
    "budget": ("name", "budget.minutes", "budget.steps", "compute.device"),
    "data": ("data.source", "data.path", "data.labels", "data.shape", "validation.holdout"),
}
"""Settings in plain sight; all others, but for the version, are in the advanced part."""

HELPS = {
    "data.shape": "Images are brought to this many voxels before the network, such as [96, 80, 128]. Empty: their own, "
    "or for larger images a coarser grid of about 260,000 voxels (data.voxels in the advanced part).",
    "objective.dice": "Weak supervision: how much the overlap of labels counts beside the similarity of the images. 0 "
    "trains without labels.",
}
"""What is said of a setting here, where its general explanation is not enough."""

TEXTS = {
    "objective.compare": [
        ("ncc", "local correlation (NCC)"),
        ("mse", "equal intensities (MSE)"),
        ("mind", "equal structure (MIND, multimodal)"),
    ],
    "objective.smoothness": [("plain", "everywhere"), ("edges", "not across edges"), ("released", "as released")],
}


def first_settings() -> TrainConfig:
    """Return what the form shows at first: the general model for five minutes, measured often enough to see it move."""
    return TrainConfig(
        name=free_name(TrainConfig().name),
        model={"start": "auto"},
        optimiser={"warmup": 10},
        validation={"every": 10, "pairs": 4, "snapshots": 20},
        budget={"minutes": 5.0},
    )


class TrainSetup(QWidget):
    """The settings of a training and the layers that it learns from.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer = viewer
        self.pair, self.validation = PairChoices(viewer, self), ValidationChoices(viewer, self)
        self.form = ConfigForm(TrainConfig, _choices(), LABELS, self)
        kinds = ((value, text) for value, (text, _) in SOURCES.items())
        self.source = combo("Learn from", "Where the pairs come from that the network learns from.", kinds)
        groups = (self._data_group(), self._validation_section(), self._method_group(), self._budget_group())
        self.files = SettingsRow(
            "training.yaml",
            self.form.config,
            "Read the settings from a YAML file of 'napari-ran train'",
            "Write the YAML file that 'napari-ran train' takes, with the layers beside it",
        )
        self.files.loaded.connect(self.set)
        page_column(self, *groups, self._advanced_section(), self.files, spacing=8)
        _align(self)
        self.source.currentIndexChanged.connect(self._show_source)
        self.form.editors["model.start"].currentIndexChanged.connect(self._show_start)
        self.form.editors["budget.minutes"].setSpecialValueText("no limit")
        self.form.start_from(first_settings())
        for path, text in HELPS.items():
            self.form.explain(path, text)
        self._show_source()
        self._show_start()

    # ---------------------------------------------------------------- both ways

    def get(self) -> tuple[TrainConfig, LayerPairs | None, LayerPairs | None]:
        """Return the settings, and the layers to train on and to validate with where layers are chosen.

        Raises
        ------
        InputError
            A value cannot be used, or layers are missing or do not fit.
        """
        chosen = self.source.currentData()
        config: TrainConfig = self.form.get()
        config = config.replace(data={"source": SOURCES[chosen][1]})
        weights = {"labels": config.objective.dice, "landmarks": config.objective.landmarks}
        needed = [kind for kind, weight in weights.items() if weight > 0]
        if chosen not in ("layers", "all"):
            if chosen != "generated" and config.data.path is None:
                raise ran.InputError("data.path", "nothing is named", "Name the folder or file to learn from")
            return config, None, None
        layers = list(self._viewer.layers)
        pairs = chosen_pair(self.pair, needed) if chosen == "layers" else all_pairs(layers, needed)
        ndim = pairs.ndim
        validation = None
        if any(self.validation.layer(role) is not None for role in ("fixed", "moving")):
            validation = chosen_pair(self.validation, where="validation ")
            if validation.ndim != ndim:
                problem = f"these images have {validation.ndim} axes, the ones to train on {ndim}"
                raise ran.InputError("validation fixed", problem, "Choose layers of the same number of axes")
        config = config.replace(model={"ndim": ndim}, data={"path": None}, validation={"holdout": 0})
        return config, pairs, validation

    def set(self, config: TrainConfig) -> None:
        """Show settings; pairs that are not layers of this viewer are a list."""
        self.form.set(config)
        kind = config.data.source
        self.source.setCurrentIndex(self.source.findData(kind))
        self._show_start()

    def offer_name(self) -> None:
        """Call the next training like the one before, with a number that is free."""
        name: Any = self.form.editors["name"]
        name.setText(free_name(name.text()))

    def refresh_models(self) -> None:
        """Show the models that there are now."""
        self.form.set_choices("model.start", _starts())

    def titles(self) -> dict[str, str]:
        """Return what arguments are called here, for messages."""
        roles = {role: self.pair.title(role) for role in self.pair.ROLES}
        validation = {f"validation {role}": f"Validation: {title.lower()}" for role, title in roles.items()}
        return LABELS | roles | validation | {"source": "Learn from"}

    # ---------------------------------------------------------------- layout

    def _data_group(self) -> QWidget:
        group = QGroupBox("Data")
        form = form_layout(group)
        form.addRow("Learn from", self.source)
        self._layer_rows = _rows(self.pair)
        self._all_note = QLabel(
            "Every image layer is brought onto every other one. A layer of labels or points belongs to the image whose "
            "name its own begins with."
        )
        self._all_note.setWordWrap(True)
        self._path_rows = self._files_rows()
        self._generated_rows = QWidget()
        generated = form_layout(self._generated_rows)
        generated.setContentsMargins(0, 0, 0, 0)
        self.form.add_to(generated, "model.ndim", "data.generated.shapes")
        self.preview_button = QPushButton("Show one")
        self.preview_button.setToolTip("<p>Add a generated pair to the viewer: images, labels and the true motion</p>")
        generated.addRow("", self.preview_button)
        for part in (self._layer_rows, self._all_note, self._path_rows, self._generated_rows):
            form.addRow(part)
        self.form.add_to(form, "data.shape")
        self.form.editors["data.shape"].setPlaceholderText("the images' own, or coarser")
        return group

    def _files_rows(self) -> QWidget:
        content = QWidget()
        form = form_layout(content)
        form.setContentsMargins(0, 0, 0, 0)
        self.paths = {path: PathRow(self.form.editors[path], LABELS[path]) for path in ("data.path", "data.labels")}
        for path, row in self.paths.items():
            form.addRow(LABELS[path], row)
        self.form.add_to(form, "validation.holdout")
        return content

    def _validation_section(self) -> QWidget:
        self.validation_section = Section("Validation pair (optional)")
        return self.validation_section.fill(_rows(self.validation))

    def _method_group(self) -> QWidget:
        group = QGroupBox("Method")
        self.form.add_to(form_layout(group), *PLAIN["method"])
        return group

    def _budget_group(self) -> QWidget:
        group = QGroupBox("Training")
        form = form_layout(group)
        self.form.add_to(form, *PLAIN["budget"])
        self.at_close = combo(
            "When the viewer closes",
            "What becomes of the training when this widget or the viewer is closed; it can be changed at any time. One "
            "that goes on is found again when the widget is opened the next time, and one that stops can be resumed.",
            AT_CLOSE.items(),
        )
        form.addRow("When closed", self.at_close)
        return group

    def _advanced_section(self) -> QWidget:
        self.advanced = Section("Advanced settings")
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(8, 0, 0, 0)
        used = {path for paths in PLAIN.values() for path in paths}
        used |= {"version", "model.ndim", "data.generated.shapes"}
        for title, prefix in _PARTS:
            paths = [p for p in self.form.rest(*used) if _part_of(p) == prefix]
            section = Section(title)
            inside = QWidget()
            self.form.add_to(form_layout(inside), *paths)
            column.addWidget(section.fill(inside))
        return self.advanced.fill(content)

    def _show_source(self) -> None:
        chosen = self.source.currentData()
        self._layer_rows.setVisible(chosen == "layers")
        self._all_note.setVisible(chosen == "all")
        self._generated_rows.setVisible(chosen == "generated")
        self._path_rows.setVisible(chosen in ("folder", "dataset", "pairs"))
        self.validation_section.setVisible(chosen in ("layers", "all"))
        if chosen in PATHS:
            self.paths["data.path"].offer(*PATHS[chosen])
            self.paths["data.labels"].offer("", chosen == "folder")

    def _show_start(self) -> None:
        start: Any = self.form.editors["model.start"]
        self.form.editors["model.preset"].setEnabled(start.currentData() == "scratch")


_PARTS = (
    ("Network", "model"),
    ("Data", "data"),
    ("Generated pairs", "data.generated"),
    ("Augmentation", "augment"),
    ("Objective", "objective"),
    ("Optimiser", "optimiser"),
    ("Validation", "validation"),
    ("Computation", "compute"),
    ("Other", ""),
)


def _part_of(path: str) -> str:
    return "data.generated" if path.startswith("data.generated.") else path.rpartition(".")[0].partition(".")[0]


def _rows(choices: LayerChoices) -> QWidget:
    content = QWidget()
    form = form_layout(content)
    form.setContentsMargins(0, 0, 0, 0)
    choices.add_to(form, *choices.boxes)
    return content


def _align(page: QWidget) -> None:
    """Give all captions of a page the same width, so that its editors stand in one column."""
    forms = page.findChildren(QFormLayout)
    items = [form.itemAt(row, QFormLayout.ItemRole.LabelRole) for form in forms for row in range(form.rowCount())]
    captions = [item.widget() for item in items if item is not None]
    width = max(caption.sizeHint().width() for caption in captions)
    for caption in captions:
        caption.setMinimumWidth(width)


def _starts() -> list[tuple[str, str]]:
    cards = ran.available_weights()
    return [
        ("auto", "the general model"),
        ("scratch", "scratch"),
        *((card.name, f"{card.name} ({card.ndim}-D)") for card in cards),
    ]


def _choices() -> dict[str, list[tuple[str, str]]]:
    return TEXTS | {
        "model.start": _starts(),
        "model.preset": [(name, name) for name in PRESETS],
        "compute.device": device_choices(),
    }
