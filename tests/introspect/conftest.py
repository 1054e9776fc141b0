from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.config import RANConfig
from napari_ran.data import Grid
from napari_ran.introspect import NetworkTrace
from napari_ran.models import create_model

MODES: dict[str, Any] = {
    "none": {"mode": "none"},
    "field": {"mode": "field", "steps": 4, "search": 0},
    "network": {"mode": "network", "network_steps": 2},
}


@pytest.fixture(scope="session")
def phantom() -> Any:
    return ran.sliding_phantom(shape=(16, 15, 14), spacing=(2.0, 2.0, 2.5))


@pytest.fixture(scope="session")
def registered(phantom: Any) -> Callable[..., ran.Registration]:
    """Register the small phantom with the bundled weights, once per mode and way: ``registered("field")``."""
    made: dict[str, ran.Registration] = {}

    def register(mode: str, keep_levels: bool = True, anew: bool = False) -> ran.Registration:
        if not anew and keep_levels and mode in made:
            return made[mode]
        names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
        given = {name: getattr(phantom, name) for name in names}
        found = ran.register(
            phantom.fixed, phantom.moving, affine="none", instance=MODES[mode], keep_levels=keep_levels, **given
        )
        return made.setdefault(mode, found) if keep_levels and not anew else found

    return register


@pytest.fixture(scope="session")
def looked() -> Callable[..., ran.Registration]:
    """Register a phantom of which the network looks at a coarser grid first, once per mode: ``looked("none")``."""
    made: dict[str, ran.Registration] = {}
    pair = ran.sliding_phantom(shape=(40, 32, 32))

    def register(mode: str) -> ran.Registration:
        if mode not in made:
            names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
            made[mode] = ran.register(
                pair.fixed,
                pair.moving,
                affine="none",
                instance=MODES[mode],
                network_voxels=32_768,
                tiles="off",
                keep_levels=True,
                **{name: getattr(pair, name) for name in names},
            )
        return made[mode]

    return register


@pytest.fixture(scope="session")
def make_trace() -> Callable[..., NetworkTrace]:
    """Make a trace of a network with lively weights on a smooth random pair: ``make_trace(config, grid)``.

    With `started` the network saw the moving image as a smooth random field warps it.
    """

    @torch.no_grad()
    def make(
        config: RANConfig, grid: Grid, both: bool = True, affine: Any = None, started: bool = False
    ) -> NetworkTrace:
        model = create_model(config, seed=3).eval()
        for shared in model.shared:
            shared.heads_out.weight *= 40  # the heads of a new network propose next to nothing
        generator = torch.Generator().manual_seed(5)
        coarse = torch.rand(2, 1, *[5] * grid.ndim, generator=generator)
        fixed, moving = functional.resize(coarse, grid.shape).split(1)
        start, seen = None, moving
        if started:
            start = functional.resize(2 * torch.randn(1, grid.ndim, *[3] * grid.ndim, generator=generator), grid.shape)
            seen = functional.warp(moving, start, padding="border")
        output = model(seen, fixed, keep_levels=True, both=both)
        world = np.eye(grid.ndim + 1) if affine is None else affine
        return NetworkTrace(model, "test weights", grid, world, fixed, moving, output, start)

    return make
