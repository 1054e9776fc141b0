from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_ran.train.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (7, 7)])
def test_orthogonal_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator) * torch.logspace(0, -1, shape[1])
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix)
    values = torch.linalg.svdvals(found)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    torch.testing.assert_close(
        left.T @ found @ right.T, torch.diag(torch.diag(left.T @ found @ right.T)), atol=1e-3, rtol=0
    )
    assert bool((orthogonal(torch.zeros(3, 4)) == 0).all())


def test_steps_are_as_long_as_adam_s() -> None:
    layer = nn.Conv3d(8, 6, 3)
    before = layer.weight.detach().clone()
    optimiser = Muon(layer.parameters(), lr=1e-2)
    layer(torch.randn(1, 8, 5, 5, 5, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    optimiser.step()
    step = (layer.weight.detach() - before).square().mean().sqrt()
    assert 0.1 * 1e-2 < float(step) < 0.3 * 1e-2


def test_it_minimises_and_its_state_can_be_kept() -> None:
    torch.manual_seed(0)
    target = torch.randn(5, 9)

    def run(steps: int, halt: int | None = None) -> torch.Tensor:
        linear = nn.Linear(9, 5)
        with torch.no_grad():
            linear.weight.zero_()
            linear.bias.fill_(1)
        optimiser = Muon(linear.parameters(), lr=0.2)
        for step in range(steps):
            if step == halt:  # go on with another optimiser from the state of this one
                state = optimiser.state_dict()
                optimiser = Muon(linear.parameters(), lr=0.2)
                optimiser.load_state_dict(state)
            optimiser.zero_grad()
            ((linear.weight - target).square().mean() + linear.bias.square().mean()).backward()
            for group in optimiser.param_groups:
                group["lr"] = 0.2 * (1 - step / steps)
            optimiser.step()
        return torch.cat([linear.weight.detach(), linear.bias.detach()[:, None]], dim=1)

    found = run(150)
    assert float((found[:, :-1] - target).abs().max()) < 0.1
    assert float(found[:, -1].abs().max()) < 0.1
    assert torch.equal(run(40), run(40, halt=17))


def test_held_weights_are_left_out() -> None:
    layer = nn.Conv2d(2, 2, 3)
    layer.weight.requires_grad_(False)
    optimiser = Muon(layer.parameters(), lr=1.0)
    assert [parameter.ndim for group in optimiser.param_groups for parameter in group["params"]] == [1]
