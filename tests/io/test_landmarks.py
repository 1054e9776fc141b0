"""Landmarks from and to files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_ran.data import Grid, Landmarks
from napari_ran.errors import InputError, OutputError
from napari_ran.io import load_landmarks, save_landmarks

POINTS = np.array([[1.5, -2.25, 3.0], [40.125, 5.0, -6.0]])
GRID = Grid(
    (10, 11, 12), np.array([[0.0, -2.0, 0.0, 5.0], [1.5, 0.0, 0.0, 6.0], [0.0, 0.0, 2.5, -7.0], [0.0, 0.0, 0.0, 1.0]])
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("ndim", [2, 3])
def test_round_trip_is_exact(tmp_path: Path, ndim: int) -> None:
    points = np.random.default_rng(0).standard_normal((7, ndim)) * 1e3
    again = load_landmarks(save_landmarks(Landmarks(points), tmp_path / "tips.csv"))
    np.testing.assert_array_equal(again.points, points)
    assert again.name == "tips"
    assert (tmp_path / "tips.csv").read_text().startswith("x,y,z" if ndim == 3 else "x,y\n")


@pytest.mark.parametrize(
    "text",
    [
        "x,y,z\n1.5,-2.25,3\n40.125,5,-6\n",
        "X; Y; Z\n1.5; -2.25; 3\n40.125; 5; -6\n",
        "x\ty\tz\n1.5\t-2.25\t3\n40.125\t5\t-6\n",
        "label,z,y,x\napex,3,-2.25,1.5\nbase,-6,5,40.125\n",
        "\ufeffx,y,z\r\n1.5,-2.25,3\r\n40.125,5,-6\r\n",
        '"x","y","z"\n1.5,-2.25,3\n40.125,5,-6\n',
        "r,a,s\n1.5,-2.25,3\n40.125,5,-6\n",
        "l,p,s\n-1.5,2.25,3\n-40.125,-5,-6\n",
        "1.5,-2.25,3\n40.125,5,-6\n",
        "# made by hand\n1.5 -2.25 3.0e0\n\n4.0125E1  5 -6\n",
        "point\n2\n-1.5 2.25 3\n-40.125 -5 -6\n",
    ],
)
def test_texts_that_say_the_same(tmp_path: Path, text: str) -> None:
    for suffix in (".csv", ".txt"):
        np.testing.assert_allclose(load_landmarks(write(tmp_path / f"a{suffix}", text)).points, POINTS)


@pytest.mark.parametrize(
    "text", ["i,j,k\n1,2,3\n4,5.5,6\n", "k,name,j,i\n3,a,2,1\n6,b,5.5,4\n", "index\n2\n1 2 3\n4 5.5 6\n"]
)
def test_voxels_are_placed_by_the_grid(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.csv", text)
    np.testing.assert_allclose(load_landmarks(path, GRID).points, GRID.to_world([[1, 2, 3], [4, 5.5, 6]]))
    with pytest.raises(InputError, match=r"a\.csv: the points are in voxels\. Give the grid"):
        load_landmarks(path)


def test_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", POINTS.astype(">f4"))
    np.testing.assert_allclose(load_landmarks(tmp_path / "a.npy").points, POINTS)


@pytest.mark.parametrize(("system", "sign"), [("LPS", -1), ("RAS", 1), ("0", 1), ("1", -1), ("", 1)])
def test_slicer_fcsv(tmp_path: Path, system: str, sign: int) -> None:
    lines = [
        "# Markups fiducial file version = 4.11",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
    ]
    if system:
        lines.insert(1, f"# CoordinateSystem = {system}")
    for n, point in enumerate(POINTS):
        x, y, z = point * (sign, sign, 1)
        lines.append(f"vtkMRMLMarkupsFiducialNode_{n},{x},{y},{z},0,0,0,1,1,1,0,F-{n},,")
    np.testing.assert_allclose(load_landmarks(write(tmp_path / "F.fcsv", "\n".join(lines))).points, POINTS)


@pytest.mark.parametrize(("system", "sign"), [("LPS", -1), ("RAS", 1)])
def test_slicer_markups(tmp_path: Path, system: str, sign: int) -> None:
    controls = [{"position": list(point * (sign, sign, 1)), "positionStatus": "defined"} for point in POINTS]
    controls.append({"position": [0, 0, 0], "positionStatus": "undefined"})
    content = {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls}]}
    landmarks = load_landmarks(write(tmp_path / "F.mrk.json", json.dumps(content)))
    np.testing.assert_allclose(landmarks.points, POINTS)
    assert landmarks.name == "F"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "\n\n", "holds no points"),
        ("a.csv", "x,y,z\n", "holds no points"),
        ("a.csv", "a,b,c\n1,2,3\n", r"expected columns x, y, z \(mm\) or i, j, k \(voxels\), got a, b, c"),
        ("a.csv", "index,axis-0,axis-1,axis-2\n0,1,2,3\n", "got index, axis-0"),
        ("a.csv", "x,y,z\n1,2,three\n", "cannot be read .*three"),
        ("a.csv", "x,y,z\n1,2\n", "cannot be read"),
        ("a.txt", "1 2 3\n4 5\n", "different numbers of values"),
        ("a.txt", "1 2 3 4\n", r"\(N, 2\) or \(N, 3\)"),
        ("a.txt", "1 2 nan\n", "NaN or infinite"),
        ("a.txt", "point\n3\n1 2 3\n", "says 3 points and holds 1"),
        ("a.npy", "no array", "cannot be read"),
        ("a.json", "{}", "not a Slicer markups file"),
        ("a.json", "{", "cannot be read"),
        ("a.fcsv", "# CoordinateSystem = UVW\n1,2,3,4\n", "unknown coordinate system 'UVW'"),
        ("a.vtk", "x", r"cannot read landmarks from a '\.vtk' file"),
    ],
)
def test_what_cannot_be_used_is_one_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: .*({message})"):
        load_landmarks(write(tmp_path / name, text))


def test_missing_file_and_other_suffix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_landmarks(tmp_path / "a.csv")
    with pytest.raises(InputError, match=r"Use \.csv"):
        save_landmarks(Landmarks(POINTS), tmp_path / "a.fcsv")
    with pytest.raises(OutputError, match="does not exist"):
        save_landmarks(Landmarks(POINTS), tmp_path / "gone" / "a.csv")


@pytest.mark.realdata
def test_elastix_points_lie_in_their_image(real_data: Path) -> None:
    from napari_ran.io import load_image

    for which, image in (("fixed", "baseline"), ("moving", "followup")):
        points = load_landmarks(real_data / f"lung_elastix/CT_3D_lung_{which}_point_set_corrected.txt")
        grid = load_image(real_data / f"lung_elastix/3DCT_lung_{image}.mha").grid
        assert len(points) == 51
        voxels = grid.to_voxel(points.points)
        assert (voxels > 0).all()
        assert (voxels < grid.shape).all()
