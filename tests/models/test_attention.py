from __future__ import annotations

import pytest
import torch

from napari_ran.models.attention import CrossAttention
from napari_ran.models.blocks import set_centre_tap


@pytest.mark.parametrize("offset", [(1, 0), (-1, 1), (0, 0)])
def test_attention_points_to_where_the_same_features_are(offset: tuple[int, int]) -> None:
    channels = 16
    attention = CrossAttention(2, channels)
    own = torch.nn.functional.normalize(
        torch.randn(1, channels, 12, 12, generator=torch.Generator().manual_seed(0)), dim=1
    )
    other = torch.roll(own, offset, dims=(2, 3))
    with torch.no_grad():
        for part in (attention.query, attention.key, attention.value, attention.enter, attention.leave):
            part.weight.zero_()
            part.bias.zero_()
        for channel in range(channels):
            set_centre_tap(attention.query, channel, channel, 100)
            set_centre_tap(attention.key, channel, channel, 1)
        for axis in range(2):  # pass the expected offset on, both signs past the rectifier
            set_centre_tap(attention.enter, 2 * axis, 2 * channels + axis, 1)
            set_centre_tap(attention.enter, 2 * axis + 1, 2 * channels + axis, -1)
            set_centre_tap(attention.leave, axis, 2 * axis, 1 / 1.2)
            set_centre_tap(attention.leave, axis, 2 * axis + 1, -1 / 1.2)
        found = attention(own, other)[0, :, 2:-2, 2:-2]
    expected = torch.tensor(offset, dtype=torch.float32).view(2, 1, 1).expand_as(found)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
