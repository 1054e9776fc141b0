"""Inspections on disk: a folder ``levels`` that holds all that is needed to inspect a result again.

``levels.json`` says what there is; ``network.safetensors`` holds the images that the network saw and the fields;
``level-K.safetensors`` what level K computed, in single precision but for the attributes and the features before the
feedback, which are only looked at (half precision; masks follow from the logits); ``weights.safetensors`` the network
itself. A network that was fitted to the pair adds the same files with ``before-``. Labels and landmarks lie beside
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from napari_ran._version import __version__
from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.introspect.sources import FieldSource, TraceSource
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.io import (
    load_field,
    load_image,
    load_labels,
    load_landmarks,
    save_field,
    save_image,
    save_labels,
    save_landmarks,
)
from napari_ran.io.checkpoints import ModelCard, load_network, save_weights
from napari_ran.io.folders import filling, settled
from napari_ran.models import DirectionOutput, Levelled, LevelOutput, ModelOutput
from napari_ran.parsing import parse_json

if TYPE_CHECKING:
    from napari_ran.introspect.inspection import Inspection
    from napari_ran.results import Registration

FOLDER = "levels"
"""Name of the folder within a result."""

INDEX = "levels.json"
VERSION = 2
"""Version of the format; raised when older programs could not read it. Since 2 there may be a field to start from."""

BEFORE = "before-"
AGAIN = "Register the pair again with keep_levels=True and save the result with this version"
FOREIGN = "This field came without the levels of a network, so only the field itself is shown"
WITHOUT_LEVELS = (
    "This result was saved without its levels, so only the final field is shown: register again with keep_levels=True"
)

ValueT = TypeVar("ValueT")

_DERIVED = "masks"
_HALF = {"features", "attributes"}


def save(inspection: Inspection, folder: str | Path) -> Path:
    """Write what `load` needs into a folder, all or none.

    With levels that is a folder ``levels``, else ``field.h5`` and the images that are known.

    Raises
    ------
    OutputError
        A file could not be written; the folder is as it was before.
    """
    source = inspection.source
    with filling(folder, obsolete=left_over) as new:
        if isinstance(source, TraceSource):
            _write(source.trace, new / FOLDER, inspection.name, inspection.labels, inspection.landmarks)
        elif isinstance(source, FieldSource):
            save_field(source.field, new / "field.h5")
            if source.inverse_field is not None:
                save_field(source.inverse_field, new / "inverse_field.h5")
            for name in ("fixed", "moving", "warped"):
                if (image := getattr(source, name)) is not None:
                    save_image(image, new / f"{name}.nii.gz")
    return Path(folder)


def save_registration(registration: Registration, folder: Path) -> None:
    """Write the folder ``levels`` of a registration that has a trace."""
    if registration.trace is None:
        raise InputError("registration", "its levels were not kept", AGAIN)
    labels = (registration.fixed_labels, registration.moving_labels)
    landmarks = (registration.fixed_landmarks, registration.moving_landmarks)
    name = f"{registration.moving.name} to {registration.fixed.name}"
    _write(registration.trace, folder / FOLDER, name, labels, landmarks)


def left_over(folder: str | Path) -> list[str]:
    """Return the name of the folder with the levels of an earlier result, where there is one."""
    return [FOLDER] if (Path(folder) / FOLDER / INDEX).exists() else []


def load(folder: str | Path) -> dict[str, Any]:
    """Read what `save` or `Registration.save` wrote: the arguments of an `Inspection`.

    Without levels, the field alone is read and ``note`` says so. A file is read as the field of any tool (see
    `napari_ran.io.load_field`).

    Raises
    ------
    InputError
        There is nothing to inspect, a file is missing or damaged, or the levels are of another version of the format or
        of another model.
    """
    path = Path(folder).expanduser()
    if path.is_file():
        return {"source": FieldSource(load_field(path)), "name": path.name, "note": FOREIGN}
    if not path.is_dir():
        raise InputError(str(folder), "there is no such folder", "Give the folder of a saved registration")
    settled(path)
    for place in (path, path / FOLDER):
        if (place / INDEX).exists():
            return _read(place)
    if (path / FOLDER).is_dir():
        raise InputError(str(path / FOLDER), f"{INDEX} is missing", AGAIN)
    return _read_field(path)


def _write(trace: NetworkTrace, folder: Path, name: str, labels: Any, landmarks: Any) -> None:
    """Write a trace, and the labels and landmarks of both images where there are some."""
    folder.mkdir()
    index: dict[str, Any] = {
        "format": "napari-ran levels",
        "version": VERSION,
        "written_by": f"napari-ran {__version__}",
        "name": name,
        "weights": trace.card_name,
        "config": trace.model.config.to_dict(),
        "grid": trace.grid.to_dict(),
        "affine": trace.affine.tolist(),
        "before": trace.as_it_was is not None,
        "label_names": _label_names(labels),
        "refined_grid": None if trace.refined is None else trace.refined.grid.to_dict(),
        "refined_by": trace.refined_by,
    }
    tensors = {"fixed": trace.fixed, "moving": trace.moving}
    if trace.start is not None:
        tensors["start"] = trace.start
    for key in ("refined", "refined_inverse"):
        if (field := getattr(trace, key)) is not None:
            tensors[key] = field.tensor
    _write_pass(trace, tensors, folder, "")
    if trace.as_it_was is not None:
        _write_pass(trace.as_it_was, tensors, folder, BEFORE)
    _write_tensors(tensors, folder / "network.safetensors")
    for kind, image in enumerate(("fixed", "moving")):
        if labels is not None and labels[kind] is not None:
            save_labels(labels[kind], folder / f"{image}_labels.nii.gz")
        if landmarks is not None and landmarks[kind] is not None:
            save_landmarks(landmarks[kind], folder / f"{image}_landmarks.csv")
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _label_names(labels: Any) -> dict[int, str]:
    """Return the names of both images' labels; the fixed image's count where they differ."""
    there = [] if labels is None else [found for found in reversed(labels) if found is not None]
    return {label: name for found in there for label, name in found.names.items()}


def _write_pass(trace: NetworkTrace, tensors: dict[str, Tensor], folder: Path, prefix: str) -> None:
    """Write the network and its levels, and add its fields to `tensors`."""
    model, config = trace.model, trace.model.config
    card = getattr(model, "card", None) or ModelCard(name="", preset="", ndim=config.ndim)
    save_weights(model, folder / f"{prefix}weights.safetensors", card.replace(name=trace.card_name))
    tensors[f"{prefix}field"] = trace.output.field
    if trace.output.inverse_field is not None:
        tensors[f"{prefix}inverse_field"] = trace.output.inverse_field
    for level in trace.levels:
        parts = {
            f"{way}.{name}": value
            for way in ("forward", "inverse")
            if (found := getattr(level, way)) is not None
            for name in _stored(config.feedback)
            if (value := getattr(found, name)) is not None
        }
        _write_tensors(parts, folder / f"{prefix}level-{level.level}.safetensors")


def _stored(feedback: bool) -> list[str]:
    """Return the names of a direction's tensors that are written; without feedback the features are not refined."""
    names = [field.name for field in fields(DirectionOutput) if field.name != _DERIVED]
    return names if feedback else [name for name in names if name != "refined"]


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    limit = torch.finfo(torch.float16).max
    ready = {
        # a copy each: safetensors refuses tensors that share their memory
        name: (value.clamp(-limit, limit).half() if name.split(".")[-1] in _HALF else value.float())
        .contiguous()
        .clone()
        for name, value in tensors.items()
    }
    try:
        save_file(ready, path)
    except SafetensorError as error:  # it wraps what the system said
        raise OSError(str(error)) from error


def _read(folder: Path) -> dict[str, Any]:
    """Read a folder written by `_write`."""
    index = _read_index(folder / INDEX)
    tensors = _read_tensors(folder / "network.safetensors")
    try:
        name, affine, grid = str(index["name"]), np.array(index["affine"], dtype=float), Grid(**index["grid"])
        trace = NetworkTrace(
            **_read_pass(folder, "", grid, tensors),
            grid=grid,
            affine=affine,
            fixed=tensors["fixed"],
            moving=tensors["moving"],
            start=tensors.get("start"),
            **_read_before(folder, grid, tensors, bool(index["before"])),
            **_read_refined(index["refined_grid"], tensors),
            refined_by=str(index.get("refined_by", "Folds smoothed" if index["before"] else "Instance optimisation")),
        )
        if affine.shape != (grid.ndim + 1, grid.ndim + 1) or not np.isfinite(affine).all():
            raise ValueError("the affine is no matrix of this dimension")
        names = {int(label): str(text) for label, text in dict(index["label_names"]).items()}
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError) and error.cure == AGAIN:
            raise
        raise InputError(str(folder), f"its parts do not fit together ({_reason(error)})", AGAIN) from error
    labels = _read_both(folder, "labels.nii.gz", lambda path: replace(load_labels(path), names=names))
    landmarks = _read_both(folder, "landmarks.csv", load_landmarks)
    return {"source": TraceSource(trace), "name": name, "labels": labels, "landmarks": landmarks}


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(str(path), f"the file cannot be read ({_reason(error)})", AGAIN) from error
    if not isinstance(index, dict) or index.get("format") != "napari-ran levels":
        raise InputError(str(path), "the file does not describe levels", AGAIN)
    if index.get("version") not in range(1, VERSION + 1):
        found, writer = index.get("version"), index.get("written_by", "another program")
        raise InputError(
            str(path), f"the levels are in version {found} of the format, written by {writer}; this is {VERSION}", AGAIN
        )
    return index


def _read_pass(folder: Path, prefix: str, grid: Grid, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the network, its name and its output, as arguments of a trace."""
    path = folder / f"{prefix}weights.safetensors"
    try:
        model = load_network(path)
    except InputError as error:
        raise InputError(str(path), f"the network cannot be read ({error.problem})", AGAIN) from error
    if not isinstance(model, Levelled):
        raise InputError(str(path), f"the network is a {model.system}, which has no levels", AGAIN)
    levels = tuple(_read_level(folder, prefix, model, level, grid) for level in range(model.config.levels))
    field, inverse = tensors[f"{prefix}field"], tensors.get(f"{prefix}inverse_field")
    for found in (field, inverse):
        if found is not None and tuple(found.shape) != (1, grid.ndim, *grid.shape):
            raise InputError(str(folder), f"a field has shape {tuple(found.shape)}, its grid {grid.shape}", AGAIN)
    return {"model": model, "card_name": model.card.name, "output": ModelOutput(field, inverse, levels)}


def _read_before(folder: Path, grid: Grid, tensors: dict[str, Tensor], there: bool) -> dict[str, Any]:
    if not there:
        return {}
    found = _read_pass(folder, BEFORE, grid, tensors)
    return {"before": found["output"], "before_model": found["model"]}


def _read_refined(grid: dict[str, Any] | None, tensors: dict[str, Tensor]) -> dict[str, Any]:
    spaces = {"refined": ("fixed", "moving"), "refined_inverse": ("moving", "fixed")}
    if grid is None:
        return {}
    there = Grid(**grid)
    return {key: DisplacementField(tensors[key], there, *ends) for key, ends in spaces.items() if key in tensors}


def _read_level(folder: Path, prefix: str, model: Levelled, level: int, grid: Grid) -> LevelOutput:
    path = folder / f"{prefix}level-{level}.safetensors"
    tensors, info = _read_tensors(path), model.level_info[level]
    shape = info.shape_for(grid.shape)
    channels = {"residual_heads": (info.heads, grid.ndim), "field": (grid.ndim,), "logits": (info.heads,)}
    channels |= {"attributes": (info.heads,), "features": (info.channels,), "refined": (info.channels,)}
    for key, value in tensors.items():
        expected = (1, *channels.get(key.split(".")[-1], (1,)), *shape)
        if tuple(value.shape) != expected:
            found = f"'{key}' has shape {tuple(value.shape)}, the network makes {expected}"
            raise InputError(str(path), f"the level is of another model: {found}", AGAIN)
    forward, inverse = (_read_direction(path, way, tensors, model, level) for way in ("forward", "inverse"))
    if forward is None:
        raise InputError(str(path), "the level has no forward direction", AGAIN)
    return LevelOutput(level, info.pool_size, shape, grid.shape, forward, inverse)


def _read_direction(
    path: Path, way: str, tensors: dict[str, Tensor], model: Levelled, level: int
) -> DirectionOutput | None:
    """Return a direction of a level; None where nothing was written for it."""
    found: dict[str, Any] = {name.split(".")[1]: value for name, value in tensors.items() if name.startswith(way)}
    if not found:
        return None
    config = model.config
    expected = {"field", "residual_heads", "logits", "features"}
    expected |= {"attributes", "refined"} if config.feedback else set()
    expected |= {"confidence"} if config.confidence else set()
    expected |= {"previous_confidence"} if config.confidence and level else set()
    if wrong := expected ^ found.keys():
        problem = "is missing" if min(wrong) in expected else "is unknown to it"
        raise InputError(str(path), f"the level is of another model: '{min(wrong)}' {problem}", AGAIN)
    found.setdefault("refined", found["features"])
    found["masks"] = torch.softmax(found["logits"], dim=1)
    optional: dict[str, Any] = dict.fromkeys(("confidence", "previous_confidence", "attributes"))
    return DirectionOutput(**(optional | found))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        # not mapped into memory: a file that is replaced or cut later must not pull the ground away
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(str(path), f"the file cannot be read ({_reason(error)})", AGAIN) from error
    return {name: value.float() for name, value in tensors.items()}


def _read_both(folder: Path, name: str, read: Callable[[Path], ValueT]) -> tuple[ValueT, ValueT] | None:
    fixed, moving = (folder / f"{image}_{name}" for image in ("fixed", "moving"))
    return (read(fixed), read(moving)) if fixed.exists() and moving.exists() else None


def _read_field(folder: Path) -> dict[str, Any]:
    """Read a result without levels: its field, and the images that lie beside it."""
    found = [path for name in ("field.h5", "disp.nii.gz") if (path := folder / name).exists()]
    if not found:
        raise InputError(str(folder), "there are neither levels nor a field in this folder", AGAIN)
    field = load_field(found[0])
    inverse = folder / "inverse_field.h5"
    images = {
        name: load_image(path) for name in ("fixed", "moving", "warped") if (path := folder / f"{name}.nii.gz").exists()
    }
    source = FieldSource(field, load_field(inverse) if inverse.exists() else None, **images)
    return {"source": source, "name": folder.name, "note": WITHOUT_LEVELS}


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
