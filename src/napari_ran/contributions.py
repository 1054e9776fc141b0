"""What the plugin gives to napari besides its widgets: readers, writers and sample data. No GUI is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_dir

from napari_ran.data import DisplacementField, Image, Labels, Landmarks
from napari_ran.downloads import RemoteFile, fetched
from napari_ran.errors import InputError
from napari_ran.io.files import is_dicom, suffix_of
from napari_ran.io.images import (
    READABLE_SUFFIXES,
    load_image,
    load_labels,
    save_image,
    save_labels,
)
from napari_ran.io.landmarks import load_landmarks, save_landmarks
from napari_ran.io.layers import (
    LayerData,
    image_from_layer,
    labels_from_layer,
    landmarks_from_layer,
    layer_affine,
    series_layers,
    to_layer_data,
)
from napari_ran.io.volumes import load_volumes
from napari_ran.io.zarr_images import is_zarr, open_zarr

if TYPE_CHECKING:
    from napari_ran.synthetic import PhantomPair

_LANDMARK_SUFFIXES = (".fcsv", ".mrk.json")
_LABEL_NAME = re.compile(r"(^|[^a-z])(segm?|segmentation|label|mask|parc|aseg)(s|map|maps)?([^a-z]|$)", re.IGNORECASE)
_MOST_LABELS = 256


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return the function that reads a path (or each of several), or None when this plugin does not know it."""
    paths = [path] if isinstance(path, str) else path
    return read if paths and all(_readable(Path(p)) for p in paths) else None


def read(path: str | list[str]) -> list[LayerData]:
    """Read images, label maps, DICOM folders and landmark files as layers in world coordinates (mm).

    A file of whole numbers, with few different values and a name such as ``..._seg`` or ``..._labels``, becomes a
    labels layer. Channels become a layer each; time is an axis of the layer.

    Raises
    ------
    InputError
        A file cannot be read; the message says why and what to do.
    """
    paths = [path] if isinstance(path, str) else path
    return [layer for p in paths for layer in _read_one(Path(p))]


def write_image(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write an image layer on its grid in mm; the suffix decides the format."""
    affine = layer_affine(meta, np.ndim(data))
    return [str(save_image(image_from_layer(data, affine, _name(meta), meta.get("metadata")), path))]


def write_labels(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a labels layer on its grid in mm; the suffix decides the format."""
    affine = layer_affine(meta, np.ndim(data))
    return [str(save_labels(labels_from_layer(data, affine, _name(meta), meta.get("metadata")), path))]


def write_points(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a points layer as landmarks in mm, RAS (CSV)."""
    affine = layer_affine(meta, np.shape(data)[-1])
    return [str(save_landmarks(landmarks_from_layer(data, affine, _name(meta)), path))]


def sample_phantom() -> list[LayerData]:
    """Make the 3-D pair whose organs slide against each other, with organ labels, landmarks and the true field."""
    from napari_ran.synthetic import sliding_phantom

    return phantom_layers(sliding_phantom())


def sample_phantom_2d() -> list[LayerData]:
    """Make the 2-D pair, with labels, landmarks and the true field."""
    from napari_ran.synthetic import phantom_2d

    return phantom_layers(phantom_2d())


_ITK_ELASTIX = "https://raw.githubusercontent.com/InsightSoftwareConsortium/ITKElastix/v0.9.0/examples/data/"
_KITWARE = "https://data.kitware.com/api/v1/file/hashsum/sha512/{}/download"
_RIRE_CT = (
    "1b950bc42fddfcefc76b9203d5dd6c45960c4fa8dcb69b839d3d083270d3d4c9"
    "a9d378de3d3f914e432dc18fb44c9b9770d4db5580a70265f3e24e6cdb83015d"
)
_RIRE_T1 = (
    "3d15477962fef5851207964c381ffe77c586a6f70f2a373ecd3b6b4dc50d51dc"
    "6cd893eb1bedabcd382a96f0dafac893ae9e5a7c2b7333f9ff3f0c6b7016c7bc"
)

HEAD_SLICES = {
    "head fixed": RemoteFile(
        "CT_2D_head_fixed.mha",
        _ITK_ELASTIX + "CT_2D_head_fixed.mha",
        "sha256:06f2ce6fbf6a59f0874c735555fcf71717f631156b1b0697c1752442f7fc1cc5",
    ),
    "head moving": RemoteFile(
        "CT_2D_head_moving.mha",
        _ITK_ELASTIX + "CT_2D_head_moving.mha",
        "sha256:a37c5fe388c38b3f4ac564f456277d09d3982eda58c4da05ead8ee2332360f47",
    ),
}
"""Two CT slices of heads, from the examples of ITKElastix (Apache-2.0)."""

HEAD_CT_MR = {
    "head MR T1 (fixed)": RemoteFile("training_001_mr_T1.mha", _KITWARE.format(_RIRE_T1), f"sha512:{_RIRE_T1}"),
    "head CT (moving)": RemoteFile("training_001_ct.mha", _KITWARE.format(_RIRE_CT), f"sha512:{_RIRE_CT}"),
}
"""Patient 001 of the Retrospective Image Registration Evaluation, as the SimpleITK notebooks keep it (CC BY 3.0)."""


def sample_head_slices() -> list[LayerData]:
    """Fetch two CT slices of heads (once; they are kept in the user's cache)."""
    return fetch_layers(HEAD_SLICES)


def sample_head_ct_mr() -> list[LayerData]:
    """Fetch a CT and a T1-weighted MR volume of one patient (once; they are kept in the user's cache)."""
    return fetch_layers(HEAD_CT_MR)


def fetch_layers(files: Mapping[str, RemoteFile], cache: str | Path | None = None) -> list[LayerData]:
    """Download public images where they are not in the cache yet, check them, and return them as layers.

    Parameters
    ----------
    files : mapping of str to RemoteFile
        What to fetch, by the name of its layer; the first comes to lie at the bottom of the layer list.
    cache : path, optional
        Where files are kept; the user's cache folder when left out.

    Raises
    ------
    InputError
        There is no network, the server refuses, or the content is not what it should be.
    """
    folder = Path(cache or Path(user_cache_dir("napari-ran")) / "samples")
    instead = "Without a network open File > Open Sample > Sliding phantom (3-D), which is made on this machine"
    images = {name: load_image(fetched(file, folder, instead)) for name, file in files.items()}
    return [to_layer_data(Image(image.tensor, image.grid, name, image.metadata)) for name, image in images.items()]


def phantom_layers(pair: PhantomPair) -> list[LayerData]:
    """Return a phantom as layers: the fixed image at the bottom, annotations hidden on top."""
    parts: dict[str, Image | Labels | Landmarks | DisplacementField] = {
        "fixed": pair.fixed,
        "moving": pair.moving,
        "fixed organs": pair.fixed_labels,
        "moving organs": pair.moving_labels,
        "fixed landmarks": pair.fixed_landmarks,
        "moving landmarks": pair.moving_landmarks,
        "true displacement": pair.truth,
    }
    layers: list[LayerData] = []
    for name, value in parts.items():
        data, kwargs, kind = to_layer_data(value)
        look = {"name": f"phantom {name}", "visible": isinstance(value, Image)}
        layers.append((data, kwargs | look, kind))
    return layers


def _readable(path: Path) -> bool:
    if is_zarr(path):
        return suffix_of(path) == ".ome.zarr" and path.is_dir()
    if path.is_dir():
        return any(is_dicom(file) for file in sorted(path.iterdir()) if file.is_file())
    return suffix_of(path) in READABLE_SUFFIXES + _LANDMARK_SUFFIXES


def _read_one(path: Path) -> list[LayerData]:
    if suffix_of(path) in _LANDMARK_SUFFIXES:
        return [to_layer_data(load_landmarks(path))]
    try:
        image = load_image(path)
    except InputError:
        if not (series := _series(path)):
            raise
        return series
    named = _LABEL_NAME.search(path.name) is not None or (is_zarr(path) and open_zarr(path).is_labels)
    return [to_layer_data(load_labels(path) if named and _few_whole_numbers(image) else image)]


def _series(path: Path) -> list[LayerData]:
    """Return the layers of a file of several time points or channels, or none when it is no such file."""
    try:
        volumes = load_volumes(path)
    except InputError:
        return []
    return series_layers(volumes) if len(volumes.rest) and volumes.values.size else []


def _few_whole_numbers(image: Image) -> bool:
    values = np.unique(image.array)
    return len(values) <= _MOST_LABELS and bool((values == np.round(values)).all())


def _name(meta: Mapping[str, Any]) -> str:
    return str(meta.get("name", "layer"))
