"""The pairs of the default settings stay what they were: the figures of the bundled weights rest on them."""

from __future__ import annotations

import math

import pytest
import torch

from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.synthetic.deformations import length

NAMES = ("fixed", "moving", "fixed_labels", "moving_labels", "truth", "visible")

# computed before label maps, slipping regions and the paper's deformation were added to the generator
KEPT: dict[tuple[tuple[int, ...], int], tuple[float, ...]] = {
    ((24, 20), 0): (3.15989, 0.28545, 33.17486, 12.91513, -0.21446, 1.70291),
    ((24, 20), 1): (0.30820, -0.65267, 40.49098, -25.23088, -0.16185, -0.02446),
    ((24, 20), 2): (-0.27871, -0.27373, -2.75116, -12.24147, -2.76423, -3.52446),
    ((24, 20), 3): (-0.50679, -0.71117, -35.97823, -35.18532, -0.39241, -2.01357),
    ((16, 20, 18), 0): (0.09951, 1.61314, -139.46676, -45.37949, -0.73050, 1.68933),
    ((16, 20, 18), 1): (-1.81248, 4.16379, 170.54084, 34.21139, 14.76345, 4.67510),
    ((16, 20, 18), 2): (-0.00979, -0.98412, -52.28713, -59.51538, -1.20895, -1.87531),
    ((16, 20, 18), 3): (-1.46026, -3.79943, -270.26259, -338.70200, -1.76486, 6.20291),
}


def checksum(volume: torch.Tensor) -> float:
    """A sum with a weight per place: bytes would differ between processors, which round differently."""
    flat = volume.double().flatten()
    return float((flat * torch.cos(math.pi / 7 * torch.arange(len(flat), dtype=torch.float64))).sum())


@pytest.mark.parametrize(("shape", "index"), KEPT)
def test_default_pairs_are_those_of_older_versions(shape: tuple[int, ...], index: int) -> None:
    pair = generate_batch(PairConfig(shapes=(shape,)), 77_000_001, index)
    found = [checksum(getattr(pair, name)) for name in NAMES]
    assert found == pytest.approx(KEPT[shape, index], rel=1e-4, abs=2e-3)


@pytest.mark.parametrize("shape", [(31, 29), (14, 15, 17)])
def test_lengths_equal_the_norm_in_every_bit(shape: tuple[int, ...]) -> None:
    vectors = torch.randn(2, len(shape), *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(length(vectors), torch.linalg.vector_norm(vectors, dim=1, keepdim=True))
