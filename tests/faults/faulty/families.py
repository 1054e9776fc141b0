"""What is damaged and who reads it: families of files, each with its sound samples and the functions that read them.

A reader may refuse a damaged file, in the words of a `RanError`, or return something sound; anything else is a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_ran as ran
from napari_ran.cases import read_cases
from napari_ran.cohort import ClusterConfig, read_outcomes
from napari_ran.config import TrainConfig
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
from napari_ran.introspect import Inspection
from napari_ran.io import load_field, load_image, load_labels, load_landmarks, load_surface, load_volumes
from napari_ran.io.checkpoints import load_network
from napari_ran.io.images import load_grid
from napari_ran.io.volumes import Volumes
from napari_ran.train import TrainFinished, fit
from napari_ran.train.keeping import kept_pair
from napari_ran.train.process import history

from . import samples

Reader = Callable[[Path], Any]


class UnsoundError(Exception):
    """A reader returned what it should have refused."""


@dataclass(frozen=True)
class Family:
    """Files of one kind: who makes a sound one under which names, who reads it, and the memory that may take."""

    make: Callable[[Path, str], Path]
    names: tuple[str, ...]
    readers: tuple[Reader, ...]
    memory: int = 2**30


def sound(value: Any) -> Any:
    """Return what a reader returned, or raise `UnsoundError` if it is not what it must be."""
    if isinstance(value, Grid):
        _finite(value.affine, value.spacing, np.linalg.inv(value.affine))
        if min(value.shape) < 1 or (value.spacing <= 0).any():
            raise UnsoundError(f"a grid of {value}")
    elif isinstance(value, Image | DisplacementField | Labels):
        sound(value.grid)
        _finite(value.tensor)
    elif isinstance(value, Volumes):
        sound(value.grid)
        try:
            sound(value.map(lambda image: image).grid)
        except ran.RanError:  # voxels that are no numbers are refused as soon as they are used
            return value
    elif isinstance(value, Landmarks):
        _finite(value.points)
    elif isinstance(value, Surface):
        _finite(value.vertices)
        if value.faces.min() < 0 or value.faces.max() >= len(value.vertices):
            raise UnsoundError("faces without vertices")
    elif isinstance(value, torch.nn.Module):
        _finite(*value.state_dict().values())
    elif isinstance(value, ran.config.FrozenConfig) and type(value)(**value.to_dict()) != value:
        raise UnsoundError(f"settings that are not equal to themselves: {value}")
    return value


def _finite(*values: Any) -> None:
    for value in values:
        if not bool(torch.isfinite(torch.as_tensor(np.asarray(value, dtype=float))).all()):
            raise UnsoundError("a value that is not finite")


def _field(**options: Any) -> Reader:
    return lambda path: load_field(path, **options)


def _inspection(path: Path) -> Any:
    found = Inspection.load(path)
    for stage in found.stages:
        for name in found.available(stage.index, "forward"):
            _finite(found.get(name, stage.index, "forward").data)
    return found


def _continued(path: Path) -> Any:
    """Go on with a training by two steps from what its folder has."""
    events = list(fit(samples.tiny_training(budget={"steps": 5}), path, resume=True))
    if not isinstance(events[-1], TrainFinished) or events[-1].step != 5:
        raise UnsoundError(f"a training that ends with {events[-1]}")
    _finite(*torch.load(_payload(path / "last.ckpt"), weights_only=True)["average"].values())
    return events


def _payload(path: Path) -> Any:
    import io

    from .mutations import FORMAT

    return io.BytesIO(path.read_bytes()[len(FORMAT) + 32 :])


def _benchmark(path: Path) -> Any:
    from napari_ran.config import BenchmarkConfig

    return BenchmarkConfig.from_yaml(path)


def _provenance(path: Path) -> Any:
    from napari_ran.webpage import provenance

    return provenance(path)


_IMAGES: tuple[Reader, ...] = (load_image, load_labels, load_volumes, load_grid)
_FIELDS: tuple[Reader, ...] = (load_field, _field(fixed=samples.GRID))
_CONFIGS: tuple[Reader, ...] = (ran.RegistrationConfig.from_yaml, TrainConfig.from_yaml, ClusterConfig.from_yaml)

FAMILIES: dict[str, Family] = {
    "NIfTI": Family(samples.image_file, ("a.nii", "a.nii.gz", "a-label.nii.gz"), _IMAGES),
    "NRRD": Family(samples.image_file, ("a.nrrd",), _IMAGES),
    "NRRD, raw": Family(samples.itk_file, ("raw.nrrd",), _IMAGES),
    "MHA": Family(samples.image_file, ("a.mha",), _IMAGES),
    "MHA, raw": Family(samples.itk_file, ("raw.mha",), _IMAGES),
    "PNG": Family(samples.itk_file, ("a.png",), _IMAGES),
    # GDCM makes room for whatever length a DICOM element claims, which is less than 4 GiB
    "DICOM": Family(samples.dicom_folder, ("series",), _IMAGES[:2], 2**32),
    "TIFF": Family(samples.tiff_file, ("ome.tif", "imagej.tif", "plain.tif"), _IMAGES),
    "OME-Zarr": Family(samples.zarr_folder, ("a.ome.zarr", "a-05.ome.zarr"), _IMAGES),
    "field, ITK .h5": Family(samples.field_file, ("a.h5", "composite.h5"), _FIELDS),
    "field, NRRD": Family(samples.field_file, ("a.nrrd",), _FIELDS[:1]),
    "field, NIfTI": Family(
        samples.field_file,
        ("disp.nii.gz", "1Warp.nii.gz"),
        (load_field, _field(format="fsl", moving=samples.GRID), _field(format="learn2reg")),
    ),
    "landmarks": Family(
        samples.points_file,
        ("a.csv", "a.fcsv", "a.mrk.json", "a.txt", "a.npy"),
        (load_landmarks, lambda path: load_landmarks(path, samples.GRID)),
    ),
    "surfaces": Family(
        samples.surface_file, ("a.stl", "ascii.stl", "a.obj", "a.ply", "a.vtk", "a.npz"), (load_surface,)
    ),
    "weights": Family(samples.weights_file, ("a.safetensors",), (load_network,)),
    "checkpoints": Family(samples.training_folder, ("run",), (_continued, history, kept_pair)),
    "settings, YAML": Family(samples.settings_file, ("register.yaml", "train.yaml", "cluster.yaml"), _CONFIGS),
    "list, CSV": Family(samples.cases_file, ("cases.csv",), (read_cases, read_outcomes)),
    "list, Learn2Reg": Family(samples.cases_file, ("dataset.json",), (read_cases,)),
    "results with levels": Family(samples.result_folder, ("result",), (_inspection, ran.Transform.load, _provenance)),
}
"""By name. A sample is read by each of its readers in turn."""
