"""Predicted against measured memory of whole registrations, each in a process of its own.

``python benchmarks/memory.py`` prints a line for each shape and setting: what was predicted when the images were
aligned, how far the process grew beyond that point, and their ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading

import numpy as np
import psutil
import torch

import napari_ran as ran
from napari_ran.memory import predicted_peak
from napari_ran.preprocess import working_grid

SHAPES = ((64, 64, 48), (96, 80, 128), (160, 128, 160), (512, 512), (2000, 1600))
SETTINGS = (
    {"instance": "field"},
    {"instance": "field", "weights": "none"},
    {"instance": "field", "keep_levels": True},
    {"instance": "none"},
    {"instance": "none", "keep_levels": True},
    {"instance": "network"},
)
LARGEST_FITTED = 600_000
"""Voxels up to which the network is fitted here: more takes long."""


def images(shape: tuple[int, ...]) -> tuple[ran.Image, ran.Image]:
    """Make a smooth random image and the same a little moved."""
    coarse = torch.from_numpy(np.random.default_rng(0).random([n // 8 + 2 for n in shape], dtype=np.float32))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    values = torch.nn.functional.interpolate(coarse[None, None], size=shape, mode=mode, align_corners=True)[0, 0]
    grid = ran.Grid.from_spacing(shape, 1.0)
    return ran.Image(values.numpy(), grid), ran.Image(np.roll(values.numpy(), 2, 0), grid)


def measure(shape: tuple[int, ...], settings: dict[str, object]) -> tuple[int, int]:
    """Return the predicted and the measured growth in bytes."""
    config = ran.RegistrationConfig(affine="none", device="cpu").replace(**settings)
    if config.instance.mode == "network":
        config = config.replace(instance={**config.instance.to_dict(), "steps": 3})
    fixed, moving = images(shape)
    run, process, highest, start = ran.start(fixed, moving, config), psutil.Process(), 0, 0
    ended = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not ended.wait(0.005):
            highest = max(highest, process.memory_info().rss)

    for event in run:
        if event.stage == "network" and not start:
            start = highest = process.memory_info().rss
            threading.Thread(target=watch, daemon=True).start()
    ended.set()
    shape = working_grid(fixed.grid, config.spacing)[0].shape
    return predicted_peak(int(np.prod(shape)), len(shape), config, config.weights != "none"), highest - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", type=int, nargs=2, metavar=("SHAPE", "SETTING"), help="only these, by their numbers")
    chosen = parser.parse_args()
    if chosen.one:
        shape, settings = SHAPES[chosen.one[0]], SETTINGS[chosen.one[1]]
        predicted, found = measure(shape, settings)
        words = " ".join(f"{key}={value}" for key, value in settings.items())
        size = " x ".join(map(str, shape))
        sizes = f"{predicted / 2**20:9.0f} {found / 2**20:9.0f} {predicted / found:6.2f}"
        print(f"{size:16} {words:36} {sizes}")
        return
    print(f"{'voxels':16} {'setting':36} {'predicted':>9} {'measured':>9} {'ratio':>6}   (MiB)")
    for number, shape in enumerate(SHAPES):
        for setting, settings in enumerate(SETTINGS):
            if settings["instance"] == "network" and np.prod(shape) > LARGEST_FITTED:
                continue
            subprocess.run([sys.executable, __file__, "--one", str(number), str(setting)], check=False)


if __name__ == "__main__":
    main()
