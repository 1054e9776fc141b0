"""Pairs in memory, written as files with a list, so that a training can be resumed when they are gone from memory."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from napari_ran.data import Image, Labels, Landmarks
from napari_ran.train.subjects import TrainPair
from napari_ran.writing import replacing


def save_pairs(pairs: Sequence[TrainPair], folder: Path) -> Path:
    """Write pairs to a folder and return the list, a CSV file for the source ``pairs``.

    What is a file already is named where it is; an image that occurs in several pairs is written once.

    Raises
    ------
    OutputError
        They could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = list(TrainPair.__dataclass_fields__)
    written: dict[int, Path] = {}
    rows = []
    for number, pair in enumerate(pairs):
        row: dict[str, str] = {}
        for name in names:
            value = getattr(pair, name)
            if value is None:
                continue
            if isinstance(value, Path):
                row[name] = str(value.expanduser().absolute())
                continue
            if id(value) not in written:
                written[id(value)] = _write(value, folder, f"{number:03d}-{name}")
            row[name] = written[id(value)].name
        rows.append(row)
    path = folder / "pairs.csv"
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def _write(value: Image | Labels | Landmarks, folder: Path, stem: str) -> Path:
    from napari_ran.io.images import save_image, save_labels
    from napari_ran.io.landmarks import save_landmarks

    if isinstance(value, Landmarks):
        return save_landmarks(value, folder / f"{stem}.csv")
    if isinstance(value, Labels):
        return save_labels(value, folder / f"{stem}.nii")
    return save_image(value, folder / f"{stem}.nii")
