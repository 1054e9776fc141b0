"""What a registration is given: loaded, and checked against each other before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.evaluate import check_labels, check_landmarks
from napari_ran.io import load_field, load_image, load_labels, load_landmarks
from napari_ran.io.folders import settled
from napari_ran.preprocess import Initial, check_pair

_LOADERS: dict[type[Any], Callable[[str | Path], Any]] = {
    Image: load_image,
    Labels: load_labels,
    Landmarks: load_landmarks,
}


@dataclass(frozen=True, eq=False)
class Inputs:
    """The pair and what belongs to it; see `napari_ran.register`."""

    fixed: Image
    moving: Image
    fixed_labels: Labels | None = None
    moving_labels: Labels | None = None
    fixed_landmarks: Landmarks | None = None
    moving_landmarks: Landmarks | None = None
    fixed_mask: Labels | None = None
    moving_mask: Labels | None = None
    rigid_regions: Labels | None = None
    initial: Initial | None = None


def load_inputs(
    fixed: Image | str | Path,
    moving: Image | str | Path,
    *,
    initial: DisplacementField | ArrayLike | str | Path | None = None,
    **given: Labels | Landmarks | str | Path | None,
) -> Inputs:
    """Load what is given as a path, and check that the parts fit together; see `napari_ran.register`.

    Parameters
    ----------
    fixed, moving : Image or path
        The pair.
    initial : DisplacementField, (D + 1, D + 1) array or path, optional
        Where to start from.
    **given
        What else `Inputs` has, by name.

    Raises
    ------
    InputError
        Naming the argument that cannot be used, what came, and the cure.
    """
    pair = _loaded("fixed", fixed, Image), _loaded("moving", moving, Image)
    beside = {
        name: _loaded(name, value, Landmarks if name.endswith("landmarks") else Labels)
        for name, value in given.items()
        if value is not None
    }
    start = None if initial is None else _initial(initial, pair[0].grid, pair[1].grid)
    inputs = Inputs(*pair, **beside, initial=start)
    _check(inputs)
    return inputs


def _loaded(argument: str, value: Any, kind: type[Any]) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, str | Path):
        try:
            return _LOADERS[kind](value)
        except InputError as error:
            raise InputError(argument, f"{error.argument}: {error.problem}", error.cure) from error
    cure = "Wrap an array as ran.Image(array, ran.Grid.from_spacing(array.shape, spacing_in_mm))"
    raise InputError(
        argument,
        f"expected {kind.__name__} or a path, got {type(value).__name__}",
        cure if kind is Image else f"Give ran.{kind.__name__} or the path of a file",
    )


def _initial(source: DisplacementField | ArrayLike | str | Path, fixed: Grid, moving: Grid) -> Initial:
    """Return an initial transform: a field, a matrix, the folder of a result, or any tool's file."""
    if isinstance(source, str | Path):
        folder = Path(source).expanduser()
        path = folder / "field.h5" if folder.is_dir() else folder
        try:
            settled(folder)
            source = load_field(path, fixed=fixed, moving=moving)
        except InputError as error:
            raise InputError("initial", f"{error.argument}: {error.problem}", error.cure) from error
    if isinstance(source, DisplacementField):
        if source.grid.ndim != fixed.ndim:
            problem = f"the transform is {source.grid.ndim}-D, the images are {fixed.ndim}-D"
            raise InputError("initial", problem, "Give a transform of the same dimension")
        return Initial.of(source)
    try:
        matrix = np.asarray(source, dtype=np.float64)
    except (TypeError, ValueError):
        problem = f"expected a DisplacementField, a matrix or a path, got {type(source).__name__}"
        raise InputError("initial", problem, "Give one of them; a Transform has a field") from None
    if matrix.shape != (fixed.ndim + 1,) * 2:
        problem = f"expected a matrix of shape {(fixed.ndim + 1,) * 2}, got {matrix.shape}"
        raise InputError("initial", problem, "Give fixed to moving world positions in mm, homogeneous")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-9:
        raise InputError("initial", "the matrix is singular or not finite", "Give one that has an inverse")
    if not np.allclose(matrix[-1], [0] * fixed.ndim + [1]):
        raise InputError("initial", f"the matrix's last row is {matrix[-1].tolist()}", "It must be 0 ... 0 1")
    return Initial.of(matrix)


def _check(inputs: Inputs) -> None:
    """Refuse what cannot be registered, before any work."""
    fixed, moving = inputs.fixed, inputs.moving
    check_pair(fixed, moving)
    for argument, image in (("fixed", fixed), ("moving", moving)):
        if bool((image.tensor == image.tensor.flatten()[0]).all()):
            raise InputError(argument, "all voxels have the same value", "Choose an image that shows something")
    for argument, labels, image in (
        ("fixed_labels", inputs.fixed_labels, fixed),
        ("moving_labels", inputs.moving_labels, moving),
        ("fixed_mask", inputs.fixed_mask, fixed),
        ("moving_mask", inputs.moving_mask, moving),
        ("rigid_regions", inputs.rigid_regions, fixed),
    ):
        if labels is not None:
            check_labels(argument, labels, image)
            if argument.endswith("mask") and not labels.ids:
                raise InputError(argument, "the mask is empty", "Mark where the image counts with 1, or give no mask")
            if argument == "rigid_regions" and not labels.ids:
                raise InputError(
                    argument, "there is no region", "Label each rigid structure, 0 elsewhere, or give none"
                )
    if inputs.fixed_landmarks is not None and inputs.moving_landmarks is not None:
        check_landmarks(inputs.fixed_landmarks, inputs.moving_landmarks, fixed.grid, moving.grid)
