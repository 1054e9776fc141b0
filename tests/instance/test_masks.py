"""Masks say where the images count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran.cli import main
from napari_ran.data import Labels
from napari_ran.errors import InputError
from napari_ran.io import save_image, save_labels

SETTINGS: dict[str, Any] = {"weights": "none", "affine": "none", "instance": {"similarity": "mse"}}


def spoiled(made: Any, side: str) -> tuple[ran.Image, Labels, np.ndarray]:
    """An image of the phantom with bright stripes over a part of it, the mask that leaves them out, and their place."""
    image = getattr(made, side)
    place = np.zeros(image.grid.shape, dtype=bool)
    rows, columns = image.grid.shape
    place[rows // 2 : rows // 2 + rows // 4, columns // 3 : columns // 3 + columns // 4] = True
    values = image.array.copy()
    stripes = np.where((np.indices(values.shape).sum(0) // 3) % 2, values.max(), values.min())
    values[place] = stripes[place]
    mask = Labels(torch.from_numpy((~place).astype(np.int32)), image.grid)
    return ran.Image(torch.from_numpy(values)[None], image.grid, side), mask, place


def mean_error(made: Any, field: ran.DisplacementField, near: np.ndarray) -> float:
    away = torch.linalg.vector_norm(field.millimetres - made.truth.millimetres, dim=0).numpy()
    return float(away[near].mean())


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_what_a_mask_leaves_out_does_not_lead(side: str) -> None:
    made = ran.phantom_2d(seed=2)
    image, mask, place = spoiled(made, side)
    pair = {"fixed": made.fixed, "moving": made.moving} | {side: image}
    near = np.zeros_like(place)  # the spoiled part and what is around it
    rows, columns = np.nonzero(place)
    near[rows.min() - 6 : rows.max() + 7, columns.min() - 6 : columns.max() + 7] = True
    without = ran.register(**pair, **SETTINGS)
    masked = ran.register(**pair, **{f"{side}_mask": mask}, **SETTINGS)
    errors = [mean_error(made, one.field, near) for one in (without, masked)]
    assert errors[1] < 0.7 * errors[0]


def test_a_mask_of_everything_changes_nothing() -> None:
    made = ran.phantom_2d(seed=2)
    whole = [Labels(torch.ones(image.grid.shape, dtype=torch.int32), image.grid) for image in (made.fixed, made.moving)]
    plain = ran.register(made.fixed, made.moving, **SETTINGS)
    masked = ran.register(made.fixed, made.moving, fixed_mask=whole[0], moving_mask=whole[1], **SETTINGS)
    inside = slice(4, -4)
    difference = (plain.field.tensor - masked.field.tensor).abs()[:, inside, inside]
    assert float(difference.mean()) < 0.1  # the border, where the mask of the moving image ends, may differ


def test_masks_that_cannot_be_used_are_refused() -> None:
    made = ran.phantom_2d()
    grid = made.fixed.grid
    empty = Labels(torch.zeros(grid.shape, dtype=torch.int32), grid)
    with pytest.raises(InputError, match="fixed_mask: the mask is empty"):
        ran.start(made.fixed, made.moving, fixed_mask=empty)
    other = Labels(torch.ones((5, 6), dtype=torch.int32), ran.Grid.from_spacing((5, 6), (1.0, 1.0)))
    with pytest.raises(InputError, match="moving_mask"):
        ran.start(made.fixed, made.moving, moving_mask=other)
    corners = torch.zeros((2, *grid.shape), dtype=torch.int32)
    corners[0, :3, :3] = corners[1, -3:, -3:] = 1
    masks = {"fixed_mask": Labels(corners[0], grid), "moving_mask": Labels(corners[1], made.moving.grid)}
    with pytest.raises(InputError, match="nothing that varies is left"):
        ran.register(made.fixed, made.moving, **masks, **SETTINGS)
    mask = Labels(torch.ones(grid.shape, dtype=torch.int32), grid)
    with pytest.raises(InputError, match=r"fixed_mask: masks are used by the affine alignment and"):
        ran.start(made.fixed, made.moving, fixed_mask=mask, instance="network")


def test_masks_on_the_command_line(tmp_path: Path) -> None:
    made = ran.phantom_2d(shape=(32, 28))
    paths = {side: save_image(getattr(made, side), tmp_path / f"{side}.nii.gz") for side in ("fixed", "moving")}
    mask = Labels(torch.ones(made.fixed.grid.shape, dtype=torch.int32), made.fixed.grid)
    save_labels(mask, tmp_path / "mask.nii.gz")
    given = ["register", str(paths["fixed"]), str(paths["moving"]), "-o", str(tmp_path / "out"), "--quiet"]
    given += ["--weights", "none", "--affine", "none", "--set", "instance.steps=4"]
    assert main([*given, "--fixed-mask", str(tmp_path / "mask.nii.gz")]) == 0
    assert (tmp_path / "out" / "field.h5").exists()
    assert main([*given, "--moving-mask", str(tmp_path / "nothing.nii.gz")]) == 2
