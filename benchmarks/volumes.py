"""The real pairs of the benchmarks: where they lie in the folder named by NAPARI_RAN_DATA, and which are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import napari_ran as ran
from napari_ran.data import Landmarks

LUNGS = ("case_002", "case_003", "case_004")
"""Cases of DIR-Lab that are reported."""

PHASES = ("T00", "T50")
"""Phases of breathing of the fixed and of the moving image."""


def hippocampus_pairs(folder: Path, development: bool, count: int = 24) -> list[tuple[str, str]]:
    """Return fixed random pairs of subjects: of the last 40 by name (reported) or of the first 168 (for tuning)."""
    names = sorted(path.name for path in (folder / "hippocampus" / "images").glob("*.nii.gz"))
    pool = names[:168] if development else names[-40:]
    generator = np.random.default_rng(2026)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        first, second = (pool[int(i)] for i in generator.choice(len(pool), 2, replace=False))
        if (first, second) not in pairs:
            pairs.append((first, second))
    return pairs


def hippocampus_files(folder: Path, pair: tuple[str, str]) -> list[Path]:
    """Return the files of a pair: fixed and moving image, then their labels."""
    return [folder / "hippocampus" / part / name for part in ("images", "labels") for name in pair]


def brain_files(folder: Path) -> list[Path]:
    """Return the files of the pair of brains: fixed and moving image, then their labels."""
    names = ("l2r2019_subj1_t1", "vxm_test_t1", "l2r2019_subj1_seg", "vxm_test_seg")
    return [folder / "brain_t1" / f"{name}.nii.gz" for name in names]


def abdomen_files(folder: Path) -> list[Path]:
    """Return the files of the pair of abdomens: fixed and moving image, then their labels."""
    names = ("ircad01_ct", "ircad17_ct", "ircad01_seg", "ircad17_seg")
    return [folder / "abdomen_ct" / f"{name}_2mm.nii.gz" for name in names]


def lung_files(folder: Path, case: str) -> list[Path]:
    """Return the files of fixed and moving image of a case of DIR-Lab."""
    return [folder / "lung_dirlab" / case / f"{phase}.nii.gz" for phase in PHASES]


def lungs(folder: Path, case: str) -> tuple[list[ran.Image], list[Landmarks]]:
    """Return fixed and moving image of a case of DIR-Lab, and their corresponding landmarks."""
    files = lung_files(folder, case)
    images = [ran.load_image(file) for file in files]
    points = [  # voxels in the order z, y, x
        Landmarks.from_voxels(np.loadtxt(file.with_name(f"{phase}_landmarks_zyx_vox.txt"))[:, ::-1], image.grid)
        for file, phase, image in zip(files, PHASES, images, strict=True)
    ]
    return images, points
