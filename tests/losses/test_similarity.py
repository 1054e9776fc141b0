from __future__ import annotations

import pytest
import torch

from napari_ran import losses


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def direct_ncc_map(a: torch.Tensor, b: torch.Tensor, window: int) -> torch.Tensor:
    """Voxel by voxel from the definition, windows cut at the border."""
    result = torch.zeros_like(a)
    low, high = (window - 1) // 2, window // 2
    for index in torch.cartesian_prod(*[torch.arange(n) for n in a.shape[2:]]):
        box = (0, 0, *[slice(max(int(i) - low, 0), int(i) + high + 1) for i in index])
        p, q = a[box].flatten(), b[box].flatten()
        p, q = p - p.mean(), q - q.mean()
        floor = losses.VARIANCE_FLOOR
        ncc = (p * q).mean() ** 2 / (((p * p).mean() + floor) * ((q * q).mean() + floor))
        result[(0, 0, *index.tolist())] = ncc
    return result


@pytest.mark.parametrize("shape", [(40, 36), (20, 18, 16)])
def test_normalised_voxels_differ_as_their_windows_correlate(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(1, 1, *shape, generator=generator)
    noise = torch.rand(1, 1, *shape, generator=generator) - 0.5
    for size in (0.1, 0.2):
        b = 0.3 + 0.5 * (a + size * noise)
        apart = ((losses.locally_normalised(a, 5) - losses.locally_normalised(b, 5)) ** 2).mean()
        torch.testing.assert_close(apart, losses.local_ncc(a, b, 5), rtol=0.1, atol=0)
    assert bool((losses.locally_normalised(torch.full((1, 1, *shape), 0.7), 5).abs() < 0.01).all())


@pytest.mark.parametrize("window", [3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(9, 7), (6, 7, 5)])
def test_local_ncc_equals_the_definition(shape: tuple[int, ...], window: int) -> None:
    a, b = noise(1, 1, *shape, seed=1, dtype=torch.float64), noise(1, 1, *shape, seed=2, dtype=torch.float64)
    expected = direct_ncc_map(a, b, window)
    torch.testing.assert_close(losses.local_ncc_map(a, b, window), expected)
    torch.testing.assert_close(losses.local_ncc(a, b, window), 1 - expected.mean())


def test_local_ncc_mask_averages_the_chosen_windows_only() -> None:
    a, b = noise(1, 1, 8, 9, seed=1), noise(1, 1, 8, 9, seed=2)
    mask = torch.zeros(1, 1, 8, 9)
    mask[..., 2:5, 3:6] = 1
    expected = 1 - losses.local_ncc_map(a, b, 3)[..., 2:5, 3:6].mean()
    torch.testing.assert_close(losses.local_ncc(a, b, 3, mask), expected)


def test_local_ncc_ignores_linear_changes_of_contrast() -> None:
    a = noise(1, 1, 10, 9, 8)
    assert losses.local_ncc(a, 0.9 - 0.5 * a, 5) < 0.01
    assert losses.local_ncc(a, noise(1, 1, 10, 9, 8, seed=5), 5) > 0.9


@pytest.mark.parametrize("shape", [(6, 5), (5, 4, 6)])
def test_gradients(shape: tuple[int, ...]) -> None:
    a = noise(1, 1, *shape, seed=3, dtype=torch.float64).requires_grad_()
    b = noise(1, 1, *shape, seed=4, dtype=torch.float64).requires_grad_()
    field = noise(1, len(shape), *shape, seed=5, dtype=torch.float64).requires_grad_()
    weight = noise(1, 1, *shape, seed=6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, q: losses.local_ncc(p, q, 3, weight), (a, b))
    assert torch.autograd.gradcheck(lambda p, q: losses.mse(p, q, weight), (a, b))
    assert torch.autograd.gradcheck(lambda u: losses.smoothness(u, weight, 1, (1.0, 2.0, 3.0)[: len(shape)]), (field,))
    assert torch.autograd.gradcheck(lambda u: losses.smoothness(u), (field,))


@pytest.mark.parametrize(("shape", "channels"), [((14, 12), 4), ((10, 12, 9), 12)])
def test_mind_does_not_change_with_contrast(shape: tuple[int, ...], channels: int) -> None:
    image = losses.box_mean(noise(2, 1, *shape), 3)
    descriptor = losses.mind_ssc(image)
    assert descriptor.shape == (2, channels, *shape)
    assert 0 < float(descriptor.min()) < 0.5
    assert float(descriptor.max()) <= 1
    torch.testing.assert_close(losses.mind_ssc(0.8 - 0.6 * image), descriptor, atol=1e-4, rtol=1e-3)


def test_mind_of_a_part_equals_the_whole() -> None:
    image = losses.box_mean(noise(1, 1, 24, 10, 9), 3)
    typical = losses.mind_typical(image)
    whole = losses.mind_ssc(image, 1, 2, typical)
    part = losses.mind_ssc(image[:, :, 5:17], 1, 2, typical)
    torch.testing.assert_close(part[:, :, 3:-3], whole[:, :, 8:14])
    torch.testing.assert_close(losses.mind_ssc(image, 1, 2), whole, atol=1e-3, rtol=1e-2)


def test_constant_images_stay_finite() -> None:
    flat = torch.full((1, 1, 8, 9, 7), 0.7, requires_grad=True)
    other = noise(1, 1, 8, 9, 7).requires_grad_()
    for loss in (
        losses.local_ncc(flat, other),
        losses.local_ncc(flat, flat),
        losses.mind_ssc(flat).sum(),
        losses.mse(flat, other),
    ):
        flat.grad = None
        loss.backward()
        assert flat.grad is not None
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(flat.grad).all())
    assert losses.local_ncc(flat, other).item() == pytest.approx(1, abs=1e-3)
    assert bool((losses.mind_ssc(flat) == 1).all())
    assert losses.local_ncc(flat, other, mask=torch.zeros_like(flat)).item() == 1


@pytest.mark.parametrize("shape", [(9, 8), (6, 8, 7)])
def test_mind_loss_is_small_for_the_same_anatomy_in_another_contrast(shape: tuple[int, ...]) -> None:
    a, b = (losses.box_mean(noise(1, 1, *shape, seed=seed), 3) for seed in (1, 2))
    expected = (losses.mind_ssc(a) - losses.mind_ssc(b)).square().mean()
    torch.testing.assert_close(losses.mind_loss(a, b), expected)
    assert losses.mind_loss(a, 0.9 - 0.7 * a) < 1e-3 * expected


def test_foreground_is_what_is_above_the_threshold() -> None:
    image = torch.tensor([0.0, 0.1, 0.2, 0.5]).view(1, 1, 2, 2)
    assert losses.foreground(image, 0.1).flatten().tolist() == [0, 0, 1, 1]


def test_axes_of_one_voxel() -> None:
    image = noise(1, 1, 6, 1, 7)
    assert bool(torch.isfinite(losses.mind_ssc(image)).all())
    assert bool((losses.edge_weight(image, 2.0) > 0).all())
    assert bool(torch.isfinite(losses.local_ncc(image, image)))
    assert float(losses.smoothness(torch.zeros(1, 3, 6, 1, 7))) == 0
