from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ran import losses
from napari_ran.functional import invert


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_edge_weight_lets_go_at_edges() -> None:
    image = torch.zeros(1, 1, 10, 8)
    image[..., 5:, :] = 1
    weight = losses.edge_weight(image, 8.0)
    assert weight.shape == image.shape
    assert float(weight[0, 0, 5, 3]) == pytest.approx(torch.tensor(-8 * 0.25).exp().item())  # a step: |grad| = 1/2
    assert bool((weight[..., :3, :] == 1).all())
    assert bool((losses.edge_weight(image, 0.0) == 1).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_smoothness_of_a_linear_field(ndim: int) -> None:
    shape = (7, 6, 5)[:ndim]
    field = torch.zeros(1, ndim, *shape)
    field[0, 0] = 0.5 * torch.arange(shape[0]).view(-1, *[1] * (ndim - 1))
    share = 1 / ndim**2  # one component along one axis
    assert float(losses.smoothness(field)) == pytest.approx(0.25 * share)
    assert float(losses.smoothness(field, power=1)) == pytest.approx(0.5 * share)
    # slopes in mm per mm on an anisotropic grid: the differences along axis 0 are 2 mm apart
    spacing = (2.0, 1.0, 3.0)[:ndim]
    assert float(losses.smoothness(field, spacing=spacing)) == pytest.approx(0.25 / 4 * share)


def test_smoothness_weight_lets_go_where_it_is_zero() -> None:
    field = torch.zeros(1, 2, 8, 6)
    field[:, 1, 4:] = 3.0
    weight = torch.ones(1, 1, 8, 6)
    assert float(losses.smoothness(field, weight)) > 0
    weight[..., 4, :] = 0
    assert float(losses.smoothness(field, weight)) == 0


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 3)])
def test_released_smoothness_equals_the_definition(shape: tuple[int, ...]) -> None:
    ndim = len(shape)
    field, fixed = noise(2, ndim, *shape, seed=1) - 0.5, noise(2, 1, *shape, seed=2)
    u, image = field.numpy(), fixed.numpy()

    def backward(values: np.ndarray, axis: int) -> np.ndarray:
        result = np.zeros_like(values)
        inner = [slice(None)] * values.ndim
        inner[axis] = slice(1, None)
        result[tuple(inner)] = np.diff(values, axis=axis)
        return result

    edges = sum(backward(image, axis) ** 2 for axis in range(2, ndim + 2)) / (0.2 + image) ** 2
    terms = [(np.abs(backward(u, axis)) * np.exp(-9 * edges)).mean() for axis in range(2, ndim + 2)]
    assert float(losses.released_smoothness(field, fixed, 9)) == pytest.approx(np.mean(terms))


def test_folding_is_penalised_where_the_field_turns_space_over() -> None:
    field = torch.zeros(1, 2, 12, 6, dtype=torch.float64)
    assert float(losses.folding_penalty(field)) == 0
    field[:, 0] = -2 * torch.arange(12.0).view(-1, 1)  # x -> -x: determinant -1 everywhere
    assert float(losses.folding_penalty(field)) == pytest.approx(1)


def test_a_field_and_its_inverse_are_consistent() -> None:
    field = 0.4 * torch.stack([torch.sin(torch.arange(16.0) / 3).expand(16, 16), torch.zeros(16, 16)])[None]
    inverse, residual = invert(field)
    assert residual < 1e-3
    assert float(losses.inverse_consistency(field, inverse)) < 1e-5
    shift = torch.ones(1, 2, 8, 8)
    assert float(losses.inverse_consistency(shift, torch.zeros(1, 2, 8, 8))) == pytest.approx(2)
    assert float(losses.inverse_consistency(shift, -shift)) == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients(ndim: int) -> None:
    shape = (5, 4, 6)[:ndim]
    field = (3 * noise(1, ndim, *shape, seed=5) - 1.5).requires_grad_()
    other = (noise(1, ndim, *shape, seed=7) - 0.5).requires_grad_()
    fixed = noise(1, 1, *shape, seed=6)
    assert torch.autograd.gradcheck(lambda u: losses.released_smoothness(u, fixed, 9.0), (field,))
    assert torch.autograd.gradcheck(losses.folding_penalty, (field,))
    assert torch.autograd.gradcheck(losses.inverse_consistency, (field, other))
