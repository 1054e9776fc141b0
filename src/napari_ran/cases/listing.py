"""The list of cases: a CSV file with a row for each pair, or a JSON file of Learn2Reg."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_ran.errors import InputError, brief
from napari_ran.io.files import stem_of
from napari_ran.io.pair_lists import is_there, read_pair_list, refuse_missing
from napari_ran.parsing import parse_json


@dataclass(frozen=True)
class Case:
    """One pair, as files.

    Attributes
    ----------
    name : str
        What to call it; by default the names of both images.
    fixed, moving : Path
        The images.
    fixed_labels, moving_labels : Path, optional
        Their label maps: with both, overlap and surface distances are measured.
    fixed_landmarks, moving_landmarks : Path, optional
        Their landmarks: with both, the target registration error is measured.
    field : Path, optional
        A displacement field that maps fixed to moving points; without one, the pair is registered.
    truth : Path, optional
        The exact field, where it is known: the end-point error and the slip at the borders of the labels are measured.
    mask : Path, optional
        Where SDlogJ is taken, on the fixed image's grid.
    labels : tuple of int
        The labels to score; all that both maps have when empty.
    learn2reg : bool
        Whether Learn2Reg's rules hold: landmarks are in voxels, and where shapes are equal, voxels of the field and of
        the moving image are those of the fixed image, whatever their headers say.
    """

    name: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None
    field: Path | None = None
    truth: Path | None = None
    mask: Path | None = None
    labels: tuple[int, ...] = ()
    learn2reg: bool = False

    @property
    def files(self) -> dict[str, Path]:
        """The files that it has, by what they are."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Path)}


PAIRS = ("eval_pairs", "registration_val", "registration_test")
"""Where a Learn2Reg file may list its pairs, in this order of preference."""


def read_cases(path: str | Path) -> list[Case]:
    """Read a list of cases.

    Parameters
    ----------
    path : path
        A CSV file whose columns are called like the attributes of `Case`, or a JSON file of Learn2Reg: a data set's, of
        which the validation pairs are taken (``registration_val``), or an evaluation's (``eval_pairs``). Files are
        named relative to it.

    Raises
    ------
    InputError
        The list cannot be read, a row lacks an image, two cases have one name, or files are missing or empty: all of
        them are named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(str(path), "there is no such file", "Give a CSV file with a row for each pair")
    if path.suffix.lower() == ".json":
        cases = _learn2reg_cases(path)
        refuse_missing(path, (file for case in cases for file in case.files.values()))
    else:
        cases = [Case(name, **files) for name, files in read_pair_list(path)]  # type: ignore[arg-type]  # files alone
    taken: set[str] = set()
    for case in cases:
        if case.name in taken:
            raise InputError(str(path), f"two cases are called '{case.name}'", "Give each a name of its own")
        taken.add(case.name)
    return cases


def with_fields(cases: Sequence[Case], folder: str | Path) -> list[Case]:
    """Return the cases with the fields that a folder has for them.

    A file is called like the case (``NAME.h5``, ``disp_NAME.nii.gz``, or ``NAME/field.h5`` as ``napari-ran register``
    writes it), or as Learn2Reg wants it: ``disp_FIXED_MOVING.nii.gz`` with the subjects' four digits, or with their
    modalities' too.

    Parameters
    ----------
    cases : sequence of Case
        From `read_cases`.
    folder : path
        Where the fields are.

    Raises
    ------
    InputError
        Cases have no file there: all of them are named.
    """
    folder = Path(folder).expanduser()
    found = [(case, _field_of(case, folder)) for case in cases]
    missing = [case.name for case, file in found if file is None]
    if missing:
        raise InputError("--fields", f"{folder} has no field for {', '.join(missing)}", "Call it disp_NAME.nii.gz")
    return [replace(case, field=file) for case, file in found]


def _field_of(case: Case, folder: Path) -> Path | None:
    names = [f"{case.name}.h5", f"disp_{case.name}.nii.gz", f"{case.name}/field.h5"]
    codes = [_learn2reg_code(path) for path in (case.fixed, case.moving)]
    if None not in codes:
        (one, first), (two, second) = codes  # type: ignore[misc]  # none is None
        names += [f"disp_{one}_{two}.nii.gz"] if (first, second) == ("0000", "0001") or first == second else []
        names += [f"disp_{one}_{first}_{two}_{second}.nii.gz"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _learn2reg_code(path: Path) -> tuple[str, str] | None:
    """Return a Learn2Reg file's four digits of the subject and of the modality, or None if it is not called so."""
    match = re.search(r"(\d{4})_(\d{4})$", stem_of(path))
    return None if match is None else (match[1], match[2])


def _learn2reg_cases(path: Path) -> list[Case]:
    """Return the pairs of a Learn2Reg file with the labels, landmarks and masks that lie where its rules say.

    An image of a folder ``imagesTr`` has its labels in ``labelsTr``, its mask in ``masksTr``, and its landmarks in
    ``landmarksTr`` or else ``keypointsTr``, in voxels.
    """
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"the file is not JSON ({error})", "Give a CSV file, or Learn2Reg's JSON") from None
    listed = next((content[key] for key in PAIRS if isinstance(content, dict) and content.get(key)), None)
    if not isinstance(listed, list):
        raise InputError(str(path), f"it has none of {', '.join(PAIRS)}", "Give a file of Learn2Reg with pairs in it")
    labels = _labels_of(path, content.get("evaluation_methods") or [])
    cases = []
    for pair in listed:
        if not isinstance(pair, dict) or not all(isinstance(pair.get(side), str) for side in ("fixed", "moving")):
            raise InputError(
                str(path), f"a pair is {brief(repr(pair))}", "Give every pair a 'fixed' and a 'moving' image"
            )
        fixed, moving = (path.parent / pair[side] for side in ("fixed", "moving"))
        both = {
            f"{side}_{kind}": _twin(image, *folders)
            for kind, folders in {"labels": ["labels"], "landmarks": ["landmarks", "keypoints"]}.items()
            for side, image in (("fixed", fixed), ("moving", moving))
        }
        masks = content.get("masked_evaluation", False)
        mask = _twin(fixed, "masks") if masks else None
        name = f"{stem_of(fixed)}-{stem_of(moving)}"
        cases.append(Case(name, fixed, moving, **both, mask=mask, labels=labels, learn2reg=True))
    return cases


def _labels_of(path: Path, methods: Any) -> tuple[int, ...]:
    """Return the labels that a Learn2Reg file wants scored."""
    listed = [one for one in methods if isinstance(one, dict)] if isinstance(methods, list) else []
    labels: Any = next((one["labels"] for one in listed if one.get("metric") == "dice" and one.get("labels")), [])
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise InputError(str(path), f"the labels are {brief(repr(labels))}", "Give a list of whole numbers")
    return tuple(labels)


def _twin(image: Path, *folders: str) -> Path | None:
    """Return the file of the same name in the folder that is called after one of `folders`, if there is one."""
    for folder in folders:
        place = image.parent.parent / image.parent.name.replace("images", folder)
        name = f"{stem_of(image)}.csv" if folder in ("landmarks", "keypoints") else image.name
        if place != image.parent and is_there(place / name):
            return place / name
    return None
