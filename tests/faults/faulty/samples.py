"""Sound files of every kind that this package reads: small, and made by its own writers where it has one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

import napari_ran as ran
from napari_ran.config import RANConfig, TrainConfig
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
from napari_ran.io import save_field, save_image, save_labels, save_landmarks, save_surface
from napari_ran.io.checkpoints import ModelCard, save_weights
from napari_ran.models import RAN, create_model

GRID = Grid.from_spacing((9, 8, 7), (1.5, 2.0, 2.5), (-20.0, 5.0, 3.0))
TINY = RANConfig.preset("RAN3", 2).replace(
    encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
)


def values() -> np.ndarray:
    """Return voxels of whole numbers, so that they can stand for labels too."""
    return np.random.default_rng(0).integers(0, 5, GRID.shape).astype(np.float32)


def image_file(folder: Path, name: str) -> Path:
    """Write an image under a name whose ending says the format."""
    path = folder / name
    if name.endswith("label.nii.gz"):
        return save_labels(Labels(values().astype(int), GRID), path)  # type: ignore[arg-type]
    return save_image(Image(values(), GRID), path)  # type: ignore[arg-type]


def itk_file(folder: Path, name: str) -> Path:
    """Write an image uncompressed by ITK."""
    made = sitk.GetImageFromArray(values().astype(np.int16)[0] if name.endswith(".png") else values().astype(np.int16))
    made = sitk.Cast(made, sitk.sitkUInt8) if name.endswith(".png") else made
    sitk.WriteImage(made, str(folder / name))
    return folder / name


def dicom_folder(folder: Path, name: str) -> Path:
    """Write a folder of three DICOM slices."""
    place = folder / name
    place.mkdir()
    volume = sitk.GetImageFromArray(values().astype(np.int16).transpose())
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(3):
        part = volume[:, :, number]
        tags = {"0008|0060": "CT", "0020|000e": "1.2.826.0.1.1", "0020|0013": str(number), "0008|0031": "1"}
        tags |= {"0020|0032": f"0\\0\\{number}", "0020|0037": "1\\0\\0\\0\\1\\0"}
        for key, value in tags.items():
            part.SetMetaData(key, value)
        writer.SetFileName(str(place / f"{number}.dcm"))
        writer.Execute(part)
    return place


def tiff_file(folder: Path, name: str) -> Path:
    """Write an OME-TIFF, an ImageJ TIFF, or a plain compressed one."""
    import tifffile

    path, array = folder / name, values().astype(np.uint16)
    if name.startswith("ome"):
        metadata = {"axes": "ZYX", "PhysicalSizeX": 1.5, "PhysicalSizeY": 2.0, "PhysicalSizeZ": 2.5}
        tifffile.imwrite(path, array, ome=True, metadata=metadata)
    elif name.startswith("imagej"):
        tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX", "spacing": 2.5, "unit": "mm"})
    else:
        tifffile.imwrite(path, array, compression="zlib", resolution=(10, 10))
    return path


def zarr_folder(folder: Path, name: str) -> Path:
    """Write an OME-Zarr image in two resolutions, 0.4 or 0.5 as the name says."""
    from napari_ran.io.zarr_writing import Layout, ZarrWriter, along_the_world

    path = folder / name
    grid = along_the_world(Grid.from_spacing(GRID.shape, (-1.5, -2.0, 2.5)))
    layout = Layout(np.dtype(np.int16), version="0.5" if "05" in name else "0.4")
    writer = ZarrWriter(path, grid, layout)
    for box in writer.blocks:
        writer.write((), box, values().astype(np.int16)[box])
    return path


def field_file(folder: Path, name: str) -> Path:
    """Write a displacement field; ``composite`` in its name asks for an affine part."""
    tensor = np.random.default_rng(1).normal(size=(3, *GRID.shape)).astype(np.float32)
    affine = np.array([[1, 0.1, 0, 2], [0, 1, 0, -1], [0, 0, 0.9, 0], [0, 0, 0, 1.0]])
    return save_field(
        DisplacementField(tensor, GRID),  # type: ignore[arg-type]
        folder / name,
        affine=affine if "composite" in name else None,
    )


def points_file(folder: Path, name: str) -> Path:
    """Write landmarks."""
    points, path = np.random.default_rng(2).normal(size=(6, 3)) * 30, folder / name
    if name.endswith(".csv"):
        return save_landmarks(Landmarks(points), path)
    if name.endswith(".npy"):
        np.save(path, points)
    elif name.endswith(".mrk.json"):
        controls = [{"position": list(point), "positionStatus": "defined"} for point in points]
        path.write_text(json.dumps({"markups": [{"coordinateSystem": "LPS", "controlPoints": controls}]}))
    elif name.endswith(".fcsv"):
        rows = [f"{number},{','.join(map(str, point))}" for number, point in enumerate(points)]
        path.write_text("\n".join(["# CoordinateSystem = LPS", "# columns = id,x,y,z", *rows]) + "\n")
    else:
        rows = [" ".join(map(str, point)) for point in points]
        path.write_text("\n".join(["point", str(len(rows)), *rows]) + "\n")
    return path


def surface_file(folder: Path, name: str) -> Path:
    """Write a tetrahedron."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10.0]])
    surface = Surface(vertices, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]))
    path = folder / name
    if name.startswith("ascii"):
        import meshio

        meshio.write(path, meshio.Mesh(surface.vertices, [("triangle", surface.faces)]), binary=False)
        return path
    return save_surface(surface, path)


def tiny_network() -> RAN:
    """Return a network of a few thousand weights."""
    return create_model(TINY, seed=3)


def weights_file(folder: Path, name: str) -> Path:
    """Write weights with a card."""
    return save_weights(tiny_network(), folder / name, ModelCard(name="tiny", preset="custom", ndim=2))


def tiny_training(**sections: object) -> TrainConfig:
    """Return the settings of a training whose steps take milliseconds."""
    config = TrainConfig(
        model={"structure": TINY.to_dict(), "hold": ()},  # type: ignore[arg-type]
        data={"generated": {"shapes": [[16, 32]]}},  # type: ignore[arg-type]
        objective={"window": 5, "smooth": 0.1, "field": 1.0, "levels": 0.5, "both": False},  # type: ignore[arg-type]
        optimiser={"method": "adam", "rate": 5e-4, "warmup": 2},  # type: ignore[arg-type]
        validation={"every": 3, "pairs": 2},  # type: ignore[arg-type]
        budget={"steps": 3},  # type: ignore[arg-type]
    )
    return config.replace(**sections)


def training_folder(folder: Path, name: str) -> Path:
    """Train a few steps and return the folder with its checkpoints."""
    from napari_ran.train import fit

    for _ in fit(tiny_training(), folder / name):
        pass
    return folder / name


def pair_files(folder: Path) -> dict[str, Path]:
    """Write a small 2-D pair of images with labels and landmarks."""
    made = ran.phantom_2d(shape=(48, 40))
    files = {side: save_image(getattr(made, side), folder / f"{side}.nii.gz") for side in ("fixed", "moving")}
    for side in ("fixed", "moving"):
        labels, points = getattr(made, f"{side}_labels"), getattr(made, f"{side}_landmarks")
        files[f"{side}_labels"] = save_labels(labels, folder / f"{side}-labels.nii.gz")
        files[f"{side}_landmarks"] = save_landmarks(points, folder / f"{side}-points.csv")
    return files


def cases_file(folder: Path, name: str, count: int = 3) -> Path:
    """Write a list of pairs, a CSV file or Learn2Reg's JSON."""
    path = folder / name
    if name.endswith(".json"):
        for side in ("imagesTr", "labelsTr"):
            (folder / side).mkdir(exist_ok=True)
            for number in range(count):
                image_file(folder, f"{side}/case_000{number}_0000.nii.gz")
        pairs = [
            {"fixed": f"./imagesTr/case_000{number}_0000.nii.gz", "moving": "./imagesTr/case_0000_0000.nii.gz"}
            for number in range(1, count)
        ]
        methods = [{"name": "dice", "metric": "dice", "labels": [1, 2]}]
        path.write_text(json.dumps({"name": "x", "registration_val": pairs, "evaluation_methods": methods}, indent=1))
        return path
    files = {key: file.name for key, file in pair_files(folder).items()}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", *files])
        writer.writeheader()
        writer.writerows({"name": f"pair {number}", **files} for number in range(count))
    return path


def settings_file(folder: Path, name: str) -> Path:
    """Write settings: of a registration, a training or a cluster, as the name says."""
    from napari_ran.cohort import ClusterConfig

    config = {
        "train.yaml": tiny_training(),
        "cluster.yaml": ClusterConfig(queue="slurm", workers=4, options={"cores": 4, "memory": "16GB"}),
    }.get(name, ran.RegistrationConfig())
    config.to_yaml(folder / name)
    return folder / name


def result_folder(folder: Path, name: str) -> Path:
    """Register a small pair and write the result with its levels."""
    made = ran.phantom_2d(shape=(32, 24))
    settings = {"weights": "none", "affine": "none", "instance": "none", "device": "cpu"}
    config = ran.RegistrationConfig(**settings)  # type: ignore[arg-type]
    weights = weights_file(folder, "tiny.safetensors")
    config = config.replace(weights=str(weights), keep_levels=True)
    kinds = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    result = ran.register(made.fixed, made.moving, config, **{kind: getattr(made, kind) for kind in kinds})
    return result.save(folder / name)
