"""Show generated pairs on one sheet: a row per pair, of any of the generator's kinds.

python scripts/generated_pairs.py sheet.png --kinds random paper cavities --shape 64 72 64
python scripts/generated_pairs.py sheet.png --kinds labels apart --label-maps FOLDER --rows 3
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.io import load_labels
from napari_ran.synthetic import GeneratedPair, PairConfig, generate_batch

ABDOMEN = ((1,), (2, 3), (6, 4), (7,))
"""Spleen, kidneys, liver with gallbladder, stomach in the numbering of BTCV; label maps without these do not slide."""

KINDS: dict[str, dict[str, Any]] = {
    "random": {"sliding": 1.0, "still": 0.0},
    "paper": {"deformation": "paper", "still": 0.0},
    "cavities": {"cavities": (1, 1), "along": 1.0, "sliding": 1.0, "slip": (0.06, 0.1), "still": 0.0},
    "labels": {"along": 1.0, "sliding": 1.0, "objects": (3, 3), "slip": (0.05, 0.08), "still": 0.0, "groups": ABDOMEN},
    "apart": {"sliding": 1.0, "objects": (3, 3), "other_contrast": 1.0, "thickness": (1.0, 4.0), "groups": ABDOMEN},
}
FROM_LABELS = {"labels", "apart"}
TITLES = ("fixed", "moving", "fixed labels", "displacement (voxels)", "fixed | moving", "fixed | moving warped")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=["random", "paper", "cavities"])
    parser.add_argument("--shape", type=int, nargs="+", default=[64, 72, 64])
    parser.add_argument("--label-maps", type=Path, help="folder of label maps, for the kinds 'labels' and 'apart'")
    parser.add_argument("--rows", type=int, default=2, help="pairs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--axis", type=int, default=-1, help="axis across which the slice is taken")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    maps = []
    if options.label_maps is not None:
        files = sorted(options.label_maps.glob("*.nii*"))[:4]
        maps = [load_labels(file).tensor[None, None] for file in files]
    rows = []
    for kind in options.kinds:
        config = PairConfig(shapes=(tuple(options.shape),), **KINDS[kind])
        for row in range(options.rows):
            start = time.perf_counter()
            pair = generate_batch(config, options.seed, row, label_maps=maps if kind in FROM_LABELS else ())
            print(f"{kind} {row}: {time.perf_counter() - start:.2f} s, folds {folds(pair):.2f} %")
            rows.append((kind, pair))
    sheet(rows, options.axis, options.out)


def folds(pair: GeneratedPair) -> float:
    return 100 * float((F.jacobian_determinant(pair.truth) <= 0).float().mean())


def sheet(rows: list[tuple[str, GeneratedPair]], axis: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(rows), len(TITLES), figsize=(2.2 * len(TITLES), 2.2 * len(rows)), squeeze=False, layout="compressed"
    )
    for line, (kind, pair) in zip(axes, rows, strict=True):
        length = torch.linalg.vector_norm(pair.truth, dim=1, keepdim=True)
        warped = F.warp(pair.moving, pair.truth, padding="border")
        pictures = (pair.fixed, pair.moving, pair.fixed_labels, length, checker(pair.fixed, pair.moving))
        number = fullest(pair, axis)
        for place, picture in zip(line, (*pictures, checker(pair.fixed, warped)), strict=True):
            colours = "nipy_spectral" if picture is pair.fixed_labels else "viridis" if picture is length else "gray"
            limits = {"vmin": 0, "vmax": 1} if colours == "gray" else {}
            shown = place.imshow(
                cut(picture, axis, number), cmap=colours, origin="lower", interpolation="nearest", **limits
            )
            if picture is length:
                figure.colorbar(shown, ax=place, shrink=0.8)
            place.set_xticks([])
            place.set_yticks([])
        line[0].set_ylabel(kind)
    for place, title in zip(axes[0], TITLES, strict=True):
        place.set_title(title, fontsize=9)
    figure.savefig(path, dpi=130)
    print(f"Written: {path}")


def checker(one: Tensor, other: Tensor, size: int = 12) -> Tensor:
    fields = sum(torch.meshgrid(*[torch.arange(n) // size for n in one.shape[2:]], indexing="ij"))
    return torch.where(torch.as_tensor(fields) % 2 == 0, one, other)


def fullest(pair: GeneratedPair, axis: int) -> int:
    """Return the slice across `axis` where the displacement jumps most."""
    steps = [torch.diff(pair.truth, dim=a, append=pair.truth.narrow(a, -1, 1)) for a in range(2, pair.truth.ndim)]
    jump = torch.stack(steps).square().sum(dim=(0, 2))[0]
    return int(jump.movedim(axis, 0).flatten(1).sum(dim=1).argmax())


def cut(volume: Tensor, axis: int, number: int) -> Any:
    picture = volume[0, 0]
    return (picture.select(axis, number) if picture.ndim == 3 else picture).T.numpy()


if __name__ == "__main__":
    main()
