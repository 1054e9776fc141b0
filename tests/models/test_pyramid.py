from __future__ import annotations

import torch

from napari_ran import functional as F
from napari_ran.models.pyramid import PyramidNetwork


class Shift(torch.nn.Module):
    """Finds a displacement of one voxel of its level along the first axis, whatever it sees."""

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        self.ndim = ndim

    def forward(self, own: torch.Tensor, aligned: torch.Tensor) -> torch.Tensor:
        residual = own.new_zeros((own.shape[0], self.ndim, *own.shape[2:]))
        residual[:, 0] = 1
        return residual


def test_levels_add_up_in_voxels_of_their_own_grids() -> None:
    network = PyramidNetwork(2, Shift)
    image = torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        output = network(image, image, keep_levels=True)
    expected, fields = 0.0, []
    for level in output.levels:
        expected = 2 * expected + 1 if fields else 1.0
        fields.append(level.forward.field)
        torch.testing.assert_close(level.forward.field[:, 0], torch.full_like(level.forward.field[:, 0], expected))
    torch.testing.assert_close(output.field, fields[-1])
    assert expected == 16 + 8 + 4 + 2 + 1
    assert [level.pool_size for level in output.levels] == [16, 8, 4, 2, 1]


def test_a_level_sees_the_other_features_through_the_field_so_far() -> None:
    network = PyramidNetwork(2, Shift, seed=1)
    moving, fixed = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    network.estimators[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        levels = network(moving, fixed, keep_levels=True).levels
    own, aligned = seen[0]
    carried = F.upsample_field(levels[0].forward.field)
    torch.testing.assert_close(own[1:], levels[1].forward.features)
    torch.testing.assert_close(aligned[1:], F.warp(levels[1].inverse.features, carried, padding="border"))


def test_small_grids_are_computed_in_single_precision() -> None:
    network = PyramidNetwork(2)
    kinds: dict[int, torch.dtype] = {}
    for level, estimator in enumerate(network.estimators):
        estimator.register_forward_hook(lambda module, given, found, k=level: kinds.update({k: given[0].dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        network(*torch.rand(2, 1, 1, 32, 32))
    single = {level for level, kind in kinds.items() if kind == torch.float32}
    assert single == {0, 1, 2}  # voxels sixteen, eight and four times as large
    assert kinds[4] == torch.bfloat16
