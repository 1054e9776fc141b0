"""What a registration is given: loaded, and checked against each other before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ran.data import Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.evaluate import check_labels, check_landmarks
from napari_ran.io import load_image, load_labels, load_landmarks


@dataclass(frozen=True, eq=False)
class Inputs:
    """The pair and what belongs to it; see `napari_ran.register`."""

    fixed: Image
    moving: Image
    fixed_labels: Labels | None
    moving_labels: Labels | None
    fixed_landmarks: Landmarks | None
    moving_landmarks: Landmarks | None
    fixed_mask: Labels | None = None
    moving_mask: Labels | None = None


def load_inputs(
    fixed: Image | str | Path,
    moving: Image | str | Path,
    fixed_labels: Labels | str | Path | None = None,
    moving_labels: Labels | str | Path | None = None,
    fixed_landmarks: Landmarks | str | Path | None = None,
    moving_landmarks: Landmarks | str | Path | None = None,
    fixed_mask: Labels | str | Path | None = None,
    moving_mask: Labels | str | Path | None = None,
) -> Inputs:
    """Load what is given as a path, and check that the parts fit together.

    Raises
    ------
    InputError
        Naming the argument that cannot be used, what came, and the cure.
    """
    inputs = Inputs(
        _loaded("fixed", fixed, Image, load_image),
        _loaded("moving", moving, Image, load_image),
        _optional("fixed_labels", fixed_labels, Labels, load_labels),
        _optional("moving_labels", moving_labels, Labels, load_labels),
        _optional("fixed_landmarks", fixed_landmarks, Landmarks, load_landmarks),
        _optional("moving_landmarks", moving_landmarks, Landmarks, load_landmarks),
        _optional("fixed_mask", fixed_mask, Labels, load_labels),
        _optional("moving_mask", moving_mask, Labels, load_labels),
    )
    _check(inputs)
    return inputs


def _optional(argument: str, value: Any, kind: type[Any], load: Callable[[str | Path], Any]) -> Any:
    return None if value is None else _loaded(argument, value, kind, load)


def _loaded(argument: str, value: Any, kind: type[Any], load: Callable[[str | Path], Any]) -> Any:
    if isinstance(value, kind):
        return value
    if isinstance(value, str | Path):
        try:
            return load(value)
        except InputError as error:
            raise InputError(argument, f"{error.argument}: {error.problem}", error.cure) from error
    cure = "Wrap an array as ran.Image(array, ran.Grid.from_spacing(array.shape, spacing_in_mm))"
    raise InputError(
        argument,
        f"expected {kind.__name__} or a path, got {type(value).__name__}",
        cure if kind is Image else f"Give ran.{kind.__name__} or the path of a file",
    )


def _check(inputs: Inputs) -> None:
    """Refuse what cannot be registered, before any work."""
    fixed, moving = inputs.fixed, inputs.moving
    if fixed.grid.ndim != moving.grid.ndim:
        raise InputError(
            "moving",
            f"the fixed image has {fixed.grid.ndim} dimensions, the moving one {moving.grid.ndim}",
            "Choose two images of the same dimension",
        )
    for argument, image in (("fixed", fixed), ("moving", moving)):
        if image.tensor.shape[0] != 1:
            raise InputError(
                argument,
                f"expected one channel, got {image.tensor.shape[0]} (a colour image?)",
                "Choose one channel, or convert it to grey values",
            )
        if min(image.grid.shape) < 2:
            raise InputError(
                argument,
                f"an axis has a single voxel: shape {image.grid.shape}",
                "Give a 2-D image without that axis, or a volume of at least two slices",
            )
        if bool((image.tensor == image.tensor.flatten()[0]).all()):
            raise InputError(argument, "all voxels have the same value", "Choose an image that shows something")
    for argument, labels, image in (
        ("fixed_labels", inputs.fixed_labels, fixed),
        ("moving_labels", inputs.moving_labels, moving),
        ("fixed_mask", inputs.fixed_mask, fixed),
        ("moving_mask", inputs.moving_mask, moving),
    ):
        if labels is not None:
            check_labels(argument, labels, image)
            if argument.endswith("mask") and not labels.ids:
                raise InputError(argument, "the mask is empty", "Mark where the image counts with 1, or give no mask")
    if inputs.fixed_landmarks is not None and inputs.moving_landmarks is not None:
        check_landmarks(inputs.fixed_landmarks, inputs.moving_landmarks, fixed.grid, moving.grid)
