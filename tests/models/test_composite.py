from __future__ import annotations

import numpy as np
import torch

from napari_ran.models.composite import Composite, GlobalNetwork


def test_the_matrix_moves_about_the_middle_in_voxels() -> None:
    network = GlobalNetwork(2)
    torch.nn.init.zeros_(network.matrix.weight)
    scale, shift = 0.1, 0.25  # of the distance from the middle; of half the extent
    with torch.no_grad():
        network.matrix.bias.copy_(torch.tensor([scale, 0, 0, 0, 0, shift]))
        field = network(torch.rand(1, 1, 20, 32), torch.rand(1, 1, 20, 32))[0].numpy()
    rows = np.arange(20) - 9.5
    np.testing.assert_allclose(field[0], np.broadcast_to(scale * rows[:, None], (20, 32)), atol=1e-5)
    np.testing.assert_allclose(field[1], np.full((20, 32), shift * 16), atol=1e-5)


def test_the_local_network_works_on_what_the_global_one_has_moved() -> None:
    composite = Composite(2, width=1)
    with torch.no_grad():
        composite.affine.matrix.weight.zero_()
        composite.affine.matrix.bias.copy_(torch.tensor([0, 0, 0.25, 0, 0, 0]))
        seen = []
        composite.local.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        moving = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
        field = composite(moving, moving, both=False).field
    torch.testing.assert_close(seen[0][0, 0, :-4], moving[0, 0, 4:])  # a quarter of 16 voxels
    torch.testing.assert_close(field[0, 0, 4:-8, 4:-4].mean(), torch.tensor(4.0), atol=0.01, rtol=0)
