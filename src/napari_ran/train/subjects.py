"""Which images there are and which pairs they form: lists in memory, CSV files, folders, Learn2Reg and BIDS data sets.

Nothing is read here but lists; the images follow when they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from napari_ran.config.training import DataSettings
from napari_ran.data import Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.io.files import existing, stem_of, suffix_of
from napari_ran.io.pair_lists import read_pair_list
from napari_ran.parsing import parse_json

_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".tif", ".tiff", ".png")


@dataclass(frozen=True, eq=False)
class Subject:
    """One image with what is known about it, in memory or as files.

    Attributes
    ----------
    name : str
        What to call it; subjects are ordered by it.
    image : Path or Image
        The image.
    labels : Path or Labels, optional
        Its label map.
    landmarks : Path or Landmarks, optional
        Its landmarks; ``voxels`` says that a file counts voxels.
    voxels : bool
        Whether a landmark file holds voxels (Learn2Reg's keypoints), not mm.
    """

    name: str
    image: Path | Image
    labels: Path | Labels | None = None
    landmarks: Path | Landmarks | None = None
    voxels: bool = False


@dataclass(frozen=True, eq=False)
class TrainPair:
    """A pair to train on or to validate with: images in memory (layers of a viewer, say) or files.

    Attributes
    ----------
    fixed, moving : Image or path
        The images.
    fixed_labels, moving_labels : Labels or path, optional
        Label maps, each on its image's grid.
    fixed_landmarks, moving_landmarks : Landmarks or path, optional
        Corresponding points, in the same order.
    """

    fixed: Image | Path
    moving: Image | Path
    fixed_labels: Labels | Path | None = None
    moving_labels: Labels | Path | None = None
    fixed_landmarks: Landmarks | Path | None = None
    moving_landmarks: Landmarks | Path | None = None


@dataclass(frozen=True, eq=False)
class Cohort:
    """Subjects and the pairs that they form.

    Attributes
    ----------
    subjects : tuple of Subject
        The images.
    pairs : tuple of (int, int), optional
        Numbers of the fixed and the moving subject of each pair; None stands for all pairs of two subjects.
    """

    subjects: tuple[Subject, ...]
    pairs: tuple[tuple[int, int], ...] | None = None

    def split(self, holdout: int) -> tuple[Cohort, Cohort | None]:
        """Return the cohort without its last `holdout` subjects (or pairs, if they are listed), and those alone.

        Raises
        ------
        InputError
            Nothing would be left to train on, or one held-out subject alone cannot form a pair.
        """
        if not holdout:
            return self, None
        if self.pairs is not None:
            if holdout >= len(self.pairs):
                raise too_many(holdout, len(self.pairs), "pairs")
            return replace(self, pairs=self.pairs[:-holdout]), replace(self, pairs=self.pairs[-holdout:])
        if holdout > len(self.subjects) - 2:
            raise too_many(holdout, len(self.subjects), "subjects")
        if holdout == 1:
            raise InputError("validation.holdout", "one subject alone cannot form a pair", "Hold out two or more")
        return Cohort(self.subjects[:-holdout]), Cohort(self.subjects[-holdout:])


def find_cohort(settings: DataSettings, pairs: Sequence[TrainPair] | None = None) -> Cohort:
    """Return the subjects and pairs that the settings name.

    Parameters
    ----------
    settings : DataSettings
        A source other than ``generated``.
    pairs : sequence of TrainPair, optional
        The pairs themselves, for the source ``pairs``.

    Raises
    ------
    InputError
        There is nothing, a file is missing, a list cannot be read, or one image alone cannot form a pair.
    """
    if settings.source == "pairs" and pairs is not None:
        return cohort_of(pairs)
    if settings.path is None:
        raise InputError("data.path", f"the source '{settings.source}' has no path", "Name the file or folder")
    path = existing(settings.path)
    if settings.source == "pairs":
        return _from_list(path)
    if settings.source == "folder":
        cohort = _from_folder(path, None if settings.labels is None else existing(settings.labels))
    elif path.is_dir():
        cohort = _from_bids(path, settings.suffix, settings.labels or "dseg")
    else:
        cohort = _from_learn2reg(path)
    return _chosen(cohort, settings)


def find_label_maps(settings: DataSettings) -> list[Path]:
    """Return the label maps that generated pairs are made from, chosen by name; none if the settings name no folder.

    Raises
    ------
    InputError
        There is no such folder, or no label map is left in it.
    """
    if settings.labels is None:
        return []
    folder = existing(settings.labels)
    files = [file for file in _images(folder) if _wanted(stem_of(file), settings)][: settings.first]
    if not files:
        raise InputError("data.labels", f"no label map in {folder} is left", "Name a folder of label maps")
    return files


def cohort_of(pairs: Sequence[TrainPair]) -> Cohort:
    """Return the cohort of pairs in memory; an image that occurs in several of them is prepared once."""
    if not pairs:
        raise InputError("pairs", "there is no pair", "Give at least one")
    known: dict[tuple[Any, ...], int] = {}
    subjects: list[Subject] = []

    def number(image: Image | Path, labels: Labels | Path | None, landmarks: Landmarks | Path | None) -> int:
        key = tuple(str(one) if isinstance(one, Path) else id(one) for one in (image, labels, landmarks))
        if key not in known:
            known[key] = len(subjects)
            name = stem_of(image) if isinstance(image, Path) else image.name
            subjects.append(Subject(name, image, labels, landmarks))
        return known[key]

    found = tuple(
        (
            number(pair.fixed, pair.fixed_labels, pair.fixed_landmarks),
            number(pair.moving, pair.moving_labels, pair.moving_landmarks),
        )
        for pair in pairs
    )
    return Cohort(tuple(subjects), found)


def _from_list(path: Path) -> Cohort:
    """Return the pairs of a list; its other columns, which scoring uses, are of no use here."""
    wanted = TrainPair.__dataclass_fields__
    listed = [{key: file for key, file in files.items() if key in wanted} for _, files in read_pair_list(path)]
    return cohort_of([TrainPair(**files) for files in listed])


def _from_folder(path: Path, labels: Path | None) -> Cohort:
    if not path.is_dir():
        raise InputError("data.path", f"{path} is a file", "Name a folder of images, or choose another source")
    maps = {} if labels is None else {stem_of(file): file for file in _images(labels)}
    subjects = [Subject(stem_of(file), file, maps.get(stem_of(file))) for file in _images(path)]
    if labels is not None and not any(subject.labels for subject in subjects):
        raise InputError(
            "data.labels", f"no file of {labels} is called like an image of {path}", "Name label maps like their images"
        )
    return Cohort(tuple(subjects))


def _from_learn2reg(path: Path) -> Cohort:
    """Learn2Reg's JSON: ``training`` lists images (with labels, keypoints), ``training_paired_images`` pairs."""
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"the file is not JSON ({error})", "Give the data set's JSON file") from None
    entries = content.get("training") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(str(path), "there is no list 'training' in it", "Give the JSON file of a Learn2Reg data set")
    subjects = []
    for entry in entries:
        entry = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise InputError(str(path), "an entry of 'training' names no image", "Give every entry an 'image'")
        files = {key: _beside(path, entry[key]) for key in ("image", "label", "keypoints") if entry.get(key)}
        image = files["image"]
        subjects.append(Subject(stem_of(image), image, files.get("label"), files.get("keypoints"), voxels=True))
    listed = content.get("training_paired_images") or ()
    number = {str(subject.image): i for i, subject in enumerate(subjects)}
    try:
        pairs = tuple((number[str(_beside(path, p["fixed"]))], number[str(_beside(path, p["moving"]))]) for p in listed)
    except (KeyError, TypeError) as error:
        raise InputError(str(path), f"a pair names {error}, which is not in 'training'", "List it there") from None
    return Cohort(tuple(subjects), pairs or None)


def _from_bids(path: Path, suffix: str, labels: str) -> Cohort:
    """BIDS: ``sub-*[/ses-*]/anat/*_<suffix>.nii.gz``; labels beside them or in ``derivatives/*``."""
    found = [file for file in _images(path, "sub-*/**/*") if stem_of(file).endswith(f"_{suffix}")]
    maps = [file for file in _images(path, "**/*") if stem_of(file).endswith(f"_{labels}")]
    subjects = []
    for file in found:
        stem = stem_of(file).removesuffix(suffix)
        own = [one for one in maps if stem_of(one).startswith(stem)]
        subjects.append(Subject(stem_of(file), file, own[0] if own else None))
    if not subjects:
        raise InputError(
            "data.path", f"{path} has no image sub-*/**/*_{suffix}", "Set data.suffix to the images' BIDS suffix"
        )
    return Cohort(tuple(subjects))


def _chosen(cohort: Cohort, settings: DataSettings) -> Cohort:
    """Return the subjects that the names and numbers of the settings leave, ordered by name."""
    order = sorted(range(len(cohort.subjects)), key=lambda i: cohort.subjects[i].name)
    kept = [i for i in order if _wanted(cohort.subjects[i].name, settings)][: settings.first]
    if len(kept) < 2:
        what = f"leaves {len(kept)} of {len(cohort.subjects)} images, and a pair needs two"
        raise InputError("data.include" if len(cohort.subjects) > 1 else "data.path", what, "Give two images or more")
    new = {old: number for number, old in enumerate(kept)}
    pairs = cohort.pairs and tuple((new[f], new[m]) for f, m in cohort.pairs if f in new and m in new)
    if cohort.pairs and not pairs:
        raise InputError("data.include", "leaves no pair of the list", "Choose more subjects")
    return Cohort(tuple(cohort.subjects[i] for i in kept), pairs)


def _wanted(name: str, settings: DataSettings) -> bool:
    return (not settings.include or _fits(name, settings.include)) and not _fits(name, settings.exclude)


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _images(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(
        file
        for file in folder.glob(pattern)
        if file.is_file() and suffix_of(file) in _SUFFIXES and not file.name.startswith(".")
    )


def _beside(path: Path, text: str) -> Path:
    """Return the file that a list names, relative to the list."""
    return existing(path.parent / Path(text).expanduser())


def too_many(holdout: int, there: int, what: str) -> InputError:
    """Return the error that holding so many out of those that are there leaves too few."""
    return InputError(
        "validation.holdout", f"keeps {holdout} of {there} {what}, which leaves too few to train on", "Hold out fewer"
    )
