"""What the fit computes in few passes is what the plain formulas and autograd give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.instance.known import Adam
from napari_ran.instance.regular import Regulariser
from napari_ran.instance.rows import mean_square, rows_of
from napari_ran.instance.terms import Term, at_points

SHAPES = [(7, 6, 5), (8, 9), (6, 1, 5), (2, 5, 4)]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("edged", [True, False])
def test_the_regulariser_is_its_formula_with_its_gradient(shape: tuple[int, ...], edged: bool) -> None:
    ndim, spacing = len(shape), (1.5, 0.7, 2.0)[: len(shape)]
    field = (2 * noise(1, ndim, *shape)).requires_grad_()
    edges = noise(1, 1, *shape, seed=1).abs() if edged else None
    size = torch.tensor(spacing, dtype=torch.float64).view(1, -1, *[1] * ndim)
    folds = torch.relu(0.1 - F.jacobian_determinant(field / size))
    assert int((folds > 0).sum()) > 3
    wanted = 3 * losses.smoothness(field, edges, 2, spacing) + 30 * folds.mean()
    found = Regulariser(3.0, 30.0, edges, spacing)(field)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, field), torch.autograd.grad(wanted, field))


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_compare_as_sampling_does(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_ran.instance.rows.CHUNK", 16)  # several chunks, the last one smaller
    ndim, count = len(shape), 50
    features, values, weight = noise(1, 4, *shape), noise(count, 4, seed=1), noise(count, seed=2).abs()
    inside = torch.rand((ndim, count), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    points = ((1.4 * inside - 0.2) * torch.tensor(shape).view(-1, 1)).requires_grad_()  # some lie outside
    read = F.sample(features, points.view(1, ndim, count, *[1] * (ndim - 1)), padding="border")[0].flatten(1).T
    wanted = (((read - values) ** 2).mean(1) * weight).sum() / weight.sum()
    value, gradient = mean_square(rows_of(features), shape, points.detach(), values, weight, True)
    torch.testing.assert_close(value, wanted)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, points)[0])
    alone, none = mean_square(rows_of(features), shape, points.detach(), values, weight, False)
    assert none is None
    assert torch.equal(alone, value)


def test_a_point_that_is_not_a_number_does_no_harm() -> None:
    points = torch.full((3, 2), torch.nan)
    value, _ = mean_square(torch.ones(60, 2), (3, 4, 5), points, torch.ones(2, 2), torch.ones(2), False)
    assert float(value) == 0


def test_parts_of_a_term_cover_the_weighted_voxels_once() -> None:
    shape = (5, 6, 7)
    features = noise(1, 3, *shape).float()
    weight = (noise(1, 1, *shape, seed=1) > 0).float()
    term = Term(features, features, weight, 0, 40, torch.Generator().manual_seed(0))
    control = noise(1, 3, *shape, seed=2).float()
    seen = []
    for _ in range(-(-int(weight.sum()) // 40)):
        part = term.draw()
        assert part.index is not None
        seen.append(part.index)
        assert torch.equal(part.values[0].flatten(1), features[0].flatten(1)[:, part.index])
        torch.testing.assert_close(part.displacement(control, shape), at_points(control, part.points, shape))
        assert float(term(part, torch.zeros_like(part.points))) < 1e-10
    assert torch.equal(torch.cat(seen).sort().values, weight.flatten().nonzero().flatten())
    assert torch.equal(term.draw().points, term._rows_at(*term._parts[-1]).points)  # begins again


def test_adam_is_torchs() -> None:
    ours, theirs = noise(4, 5).clone(), noise(4, 5).requires_grad_()
    adam, reference = Adam(ours), torch.optim.Adam([theirs], lr=0.1)
    for step in range(5):
        theirs.grad = noise(4, 5, seed=step + 1)
        adam.step(theirs.grad, 0.1)
        reference.step()
    torch.testing.assert_close(ours, theirs.detach())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 18, 20), (17, 19, 23)])
def test_sampling_on_all_cores_changes_nothing(
    channels: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, field = noise(1, channels, 9, 8, 7), (3 * noise(1, 3, *shape, seed=1)).requires_grad_()

    def sampled(threads: int) -> tuple[Tensor, Tensor]:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        found = F.sample(image, field, padding="border")
        return found.detach(), torch.autograd.grad(found.square().sum(), field)[0]

    for one, two in zip(sampled(1), sampled(3), strict=True):
        assert torch.equal(one, two)
