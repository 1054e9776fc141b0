from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.models import RAN
from napari_ran.models.cost import multiply_accumulates, parameters

SMALL = {"encoder_channels": (4, 4), "skip_channels": 3, "heads": 2, "regressor_width": 4, "head_width": 5}
TINY = RANConfig(pools=(2, 2, 1), dilations=(2, 1, 1), decoder_channels=(6, 5, 4), skips=((1, 2), (2,), (1,)), **SMALL)
VARIANTS = {
    "3-D": TINY,
    "2-D": TINY.model_copy(update={"ndim": 2}),
    "bare": TINY.model_copy(update={"confidence": False, "feedback": False, "shared": False, "skip_channels": None}),
    "RAN4 in 2-D": RANConfig.preset("RAN4", 2),
    **{name: RANConfig.preset(name) for name in ("RAN0", "RAN3", "RAN4", "RAN4+", "released")},
}


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_counts_what_a_forward_pass_does(config: RANConfig, both: bool) -> None:
    model = RAN(config)
    shape = (13, 20, 9)[: config.ndim]  # padded inside
    pair = torch.rand((2, 1, 1, *shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*pair, both=both)
    assert multiply_accumulates(config, shape, both) == counter.get_total_flops() // 2
    assert parameters(config) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "both", "fixed_only"),
    [("RAN0", 209.4, 131.3), ("RAN3", 221.7, 143.5), ("RAN4", 347.0, 268.9), ("RAN4+", 352.0, 273.8)],
)
def test_presets_at_the_papers_volume(name: str, both: float, fixed_only: float) -> None:
    """In 10^9; the fixed direction alone saves 37, 35, 23 and 22 percent."""
    config = RANConfig.preset(name)
    found = [multiply_accumulates(config, (96, 80, 128), value) / 1e9 for value in (True, False)]
    assert found == pytest.approx([both, fixed_only], abs=0.1)


@pytest.mark.parametrize(
    ("name", "millions"), [("RAN0", 0.702), ("RAN3", 0.730), ("RAN4", 0.726), ("RAN4+", 0.752), ("released", 0.738)]
)
def test_parameters_of_the_presets(name: str, millions: float) -> None:
    assert round(parameters(RANConfig.preset(name)) / 1e6, 3) == millions


@pytest.mark.parametrize("shape", [(32, 32), (32, 0, 32)])
def test_refuses_a_shape_that_is_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"shape: must be \(X, Y, Z\) in voxels"):
        multiply_accumulates(TINY, shape)
