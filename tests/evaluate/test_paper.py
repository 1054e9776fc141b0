from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ran.data import DisplacementField, Grid
from napari_ran.evaluate import paper_folding, paper_score


def block(shape: tuple[int, ...], start: int, stop: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[(slice(start, stop),) * len(shape)] = True
    return mask


def test_equal_and_shifted_masks() -> None:
    mask = block((24, 24, 24), 6, 14)
    same = paper_score(mask, mask)
    assert same.dice == pytest.approx(1, abs=1e-7)
    assert same.dice < 1  # the small constant
    assert (same.hd, same.asd) == (0, 0)
    moved = paper_score(mask, np.roll(mask, 4, axis=0))
    assert moved.dice == pytest.approx(0.5, abs=1e-6)
    assert moved.hd == 4  # of whole structures: the far end is four voxels from the nearest
    assert 1 < moved.asd < 4  # layers parallel to the shift lie on each other


def test_the_distance_is_of_whole_structures() -> None:
    outer, hollow = block((20, 20), 4, 15), block((20, 20), 4, 15)
    hollow[7:12, 7:12] = False
    assert paper_score(outer, hollow).hd == 3  # the middle of the hole, which no surface sees
    one, two = (np.argwhere(mask) for mask in (outer, hollow))
    distances = np.linalg.norm(one[:, None] - two[None], axis=-1)
    assert paper_score(outer, hollow).hd == max(distances.min(axis=0).max(), distances.min(axis=1).max())


def test_empty_masks_have_the_released_codes_values() -> None:
    mask, empty = block((16, 20), 4, 10), np.zeros((16, 20), bool)
    assert paper_score(mask, empty).asd == 0
    assert paper_score(empty, mask).asd == 16
    assert paper_score(mask, empty).hd is None
    assert paper_score(empty, empty).dice == 0


def test_folds_are_counted_on_every_second_voxel_inside() -> None:
    grid = Grid.from_spacing((20, 20), (1.0, 1.0))
    x = torch.arange(20.0).view(20, 1).expand(20, 20)
    field = DisplacementField(torch.stack([-2 * x, torch.zeros(20, 20)]), grid)  # mirrors: a determinant of -1
    mask = block((20, 20), 4, 14)
    assert paper_folding(field, mask) == 25
    assert paper_folding(DisplacementField.identity(grid), mask) == 0
