from __future__ import annotations

import math

import pytest
import torch

from napari_ran import functional as F
from napari_ran.config.generated import StageOneConfig
from napari_ran.synthetic.deformations import centred_grid, length
from napari_ran.synthetic.stage_one import (
    StageOneRecord,
    draw_stage_one,
    gaussian_bumps,
    held_near,
    rotation_about,
    stage_one_field,
    thin_plate,
)

SHAPES = {2: (30, 37), 3: (20, 26, 18)}
NONE = {"rotation": 0.0, "translation": (0.0, 0.0), "plate": (0.0, 0.0), "bumps": (0.0, 0.0), "beyond": 100.0}
by_dimension = pytest.mark.parametrize("ndim", [2, 3])


def drawn(ndim: int, seed: int = 0, **changes: object) -> StageOneRecord:
    return draw_stage_one(StageOneConfig(**changes), SHAPES[ndim], torch.Generator().manual_seed(seed))


@by_dimension
@pytest.mark.parametrize("part", ["plate", "bumps", "translation"])
def test_each_amplitude_is_the_largest_displacement_in_voxels(ndim: int, part: str) -> None:
    side = math.prod(SHAPES[ndim]) ** (1 / ndim)
    for seed in range(3):
        record = drawn(ndim, seed, **NONE | {part: (0.05, 0.12)})
        wanted = math.hypot(*record.translation) if part == "translation" else getattr(record, part)
        assert 0.05 * side <= wanted <= 0.12 * side + 1e-4
        field = stage_one_field(record, SHAPES[ndim])
        assert float(length(field).max()) == pytest.approx(wanted, rel=1e-4)


@by_dimension
def test_the_whole_deformation_rotates_what_the_elastic_parts_have_moved(ndim: int) -> None:
    record = drawn(ndim, **NONE | {"rotation": 0.7, "plate": (0.1, 0.1)})
    still = StageOneRecord(**vars(record) | {"angle": 0.0})
    here = centred_grid(SHAPES[ndim])
    elastic = here + stage_one_field(still, SHAPES[ndim])
    whole = here + stage_one_field(record, SHAPES[ndim])
    assert torch.allclose(length(whole), length(elastic), atol=1e-4)  # about the middle
    cosine = (whole * elastic).sum(1) / (length(whole) * length(elastic)).clamp_min(1e-6)[:, 0]
    if ndim == 2:
        assert torch.allclose(cosine, torch.tensor(math.cos(record.angle)), atol=1e-3)
    assert float(cosine.min()) == pytest.approx(math.cos(record.angle), abs=0.02)  # at a right angle to the axis


def test_rotations_about_an_axis() -> None:
    axis = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)
    matrix = rotation_about(axis.tolist(), 0.4)
    assert torch.allclose(matrix @ matrix.T, torch.eye(3), atol=1e-6)
    assert torch.allclose(matrix @ axis, axis, atol=1e-6)
    assert float(matrix.trace()) == pytest.approx(1 + 2 * math.cos(0.4), abs=1e-5)
    assert torch.allclose(matrix[:, 0], torch.linalg.matrix_exp(0.4 * skew(axis))[:, 0], atol=1e-5)
    assert rotation_about((), 0.4) @ torch.tensor([1.0, 0.0]) == pytest.approx([math.cos(0.4), math.sin(0.4)])


def skew(axis: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cross(axis.expand(3, 3), torch.eye(3)).T


@by_dimension
def test_a_thin_plate_passes_through_its_control_points(ndim: int) -> None:
    record = drawn(ndim, plate=(0.1, 0.1))
    points = torch.tensor(record.plate_points)
    found = thin_plate(points.T[None], record.plate_points, record.plate_shifts)
    assert torch.allclose(found[0].T, torch.tensor(record.plate_shifts), atol=1e-4)


@by_dimension
def test_a_thin_plate_reproduces_an_affine_map_and_bends_least(ndim: int) -> None:
    points = drawn(ndim).plate_points
    matrix = torch.randn(ndim, ndim, generator=torch.Generator().manual_seed(3))
    shifts = tuple(tuple(row) for row in (torch.tensor(points) @ matrix.T + 2.0).tolist())
    where = centred_grid(SHAPES[ndim])
    expected = torch.einsum("ij,bj...->bi...", matrix, where) + 2.0
    assert torch.allclose(thin_plate(where, points, shifts), expected, atol=2e-3)


@by_dimension
def test_bumps_are_the_sum_of_gaussians(ndim: int) -> None:
    record = drawn(ndim)
    assert len(record.bump_centres) == 20
    here = centred_grid(SHAPES[ndim])
    expected = torch.zeros_like(here)
    for centre, vector in zip(record.bump_centres, record.bump_vectors, strict=True):
        column = [1, ndim] + [1] * ndim
        squared = (here - torch.tensor(centre).view(column)).square().sum(1, keepdim=True)
        expected += torch.tensor(vector).view(column) * torch.exp(-squared / (2 * record.width**2))
    found = gaussian_bumps(SHAPES[ndim], record.bump_centres, record.bump_vectors, record.width)
    assert torch.allclose(found, expected, atol=1e-5)


@by_dimension
def test_points_stay_near_the_image_and_nothing_folds_within(ndim: int) -> None:
    for seed in range(4):
        free = drawn(ndim, seed, beyond=1000.0)
        assert float(F.jacobian_determinant(stage_one_field(free, SHAPES[ndim])).min()) > 0
        field = stage_one_field(drawn(ndim, seed), SHAPES[ndim])
        reached = F.voxel_grid(SHAPES[ndim], field) + field
        last = torch.tensor(SHAPES[ndim]).view(1, ndim, *[1] * ndim) - 1.0
        assert float(reached.min()) >= -5.001
        assert float((reached - last).max()) <= 5.001
    far = held_near(torch.full((1, 1, 4), 9.0), 2.0)
    assert far.flatten().tolist() == [5.0, 4.0, 3.0, 2.0]
