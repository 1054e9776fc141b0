"""Open everything that the plugin's manifest gives to napari, in a real viewer, as a user would, and say what it took.

Every widget is docked from both menus, every sample opened, every reader given a file of each pattern, every writer
used with each suffix and its file read back, in both themes. The first thing that fails ends it with its error. The
package is the installed one, so run it away from the source to try a wheel.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/open_everything.py``.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("NAPARI_RAN_MEMORY", "")  # the forms start with their defaults, whatever was used here last

NAME = "napari-ran"
HANDLED = {"commands", "widgets", "menus", "sample_data", "readers", "writers", "themes", "configurations"}
"""Kinds of contributions that are opened here; another kind in the manifest is an error until it is, too."""

NO_NETWORK = "could not be fetched"


class Newcomer:
    """Somebody at a viewer who tries everything once."""

    def __init__(self, folder: Path, offline: bool) -> None:
        import napari
        from napari._qt.qt_event_loop import get_qapp
        from npe2 import PluginManager

        self.folder, self.offline, self.app = folder, offline, get_qapp()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1280, 720)
        self.manifest = PluginManager.instance().get_manifest(NAME)
        self.given = {kind: value for kind, value in self.manifest.contributions if value}
        if unknown := set(self.given) - HANDLED:
            raise SystemExit(f"nothing here opens what the manifest has under {', '.join(sorted(unknown))}")
        self.count = 0

    def live(self, seconds: float = 0.05) -> None:
        """Let the viewer work off what has happened."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.005)

    def tried(self, kind: str, name: str, what: str = "") -> None:
        """Say that something works."""
        self.live()
        self.count += 1
        print(f"{kind:<10}{name:<42}{what}", flush=True)

    # ---------------------------------------------------------------- menus and widgets

    def entries(self, wanted: tuple[str, ...], menu: Any = None) -> Iterator[tuple[str, Any]]:
        """Yield the title and the action of every entry below a menu, such as ``("Layers", "Register")``."""
        for action in (self.viewer.window._qt_window.menuBar() if menu is None else menu).actions():
            title = action.text().replace("&", "")
            if action.menu() is None and not wanted:
                yield title, action
            elif action.menu() is not None and title in (wanted[:1] or (title,)):
                action.menu().aboutToShow.emit()  # napari fills some menus when they are opened
                yield from self.entries(wanted[1:], action.menu())

    def choose(self, menu: str, title: str) -> None:
        """Choose an entry by its title and the menu of the manifest, such as ``napari/layers/register``."""
        wanted = tuple(name.capitalize() for name in menu.split("/")[1:])
        found = [action for name, action in self.entries(wanted) if name.startswith(title)]
        if len(found) != 1:
            raise SystemExit(f"the menu {menu} has {len(found)} entries '{title}'")
        found[0].trigger()
        self.live(0.2)

    def docked(self, command: str) -> Any:
        """Return the dock of the widget that a command makes, which must be seen; there must be one."""
        kind = self.class_of(command)
        docks = {widget: widget.parent() for widget in self.viewer.window.dock_widgets.values() if type(widget) is kind}
        if len(docks) != 1:
            raise SystemExit(f"'{command}' has docked {len(docks)} widgets of the class {kind.__name__}")
        widget, dock = next(iter(docks.items()))
        if not widget.isVisible() or widget.width() < 50 or widget.height() < 50:
            raise SystemExit(f"the widget of '{command}' cannot be seen")
        return dock

    def class_of(self, command: str) -> Any:
        """Return the class of a command's widget."""
        from npe2.manifest.utils import import_python_name

        return import_python_name(next(one.python_name for one in self.given["commands"] if one.id == command))

    def open_widgets(self) -> None:
        """Dock every widget from the menu Plugins and from its other menu, in both themes, and close it again."""
        listed = [(menu, item.command) for menu, items in self.given["menus"].items() for item in items]
        for widget in self.given["widgets"]:
            menus = ["napari/plugins", *(menu for menu, command in listed if command == widget.command)]
            for menu in menus:
                self.choose(menu, widget.display_name)
                dock = self.docked(widget.command)
                for theme in ("light", "dark", *(one.id for one in self.given.get("themes", ()))):
                    self.viewer.theme = theme
                    self.live()
                self.viewer.window.remove_dock_widget(dock)
                self.tried("widget", widget.display_name, f"from {menu}")
        if others := {command for _, command in listed} - {one.command for one in self.given["widgets"]}:
            raise SystemExit(f"there are menu entries that open no widget: {', '.join(others)}")

    # ---------------------------------------------------------------- samples

    def open_samples(self) -> None:
        """Open every sample from the File menu's list."""
        offered = [title for title, _ in self.entries(("File", "Open Sample"))]
        for sample in self.given["sample_data"]:
            if sample.display_name not in offered:
                raise SystemExit(f"File > Open Sample does not offer '{sample.display_name}'")
            self.viewer.layers.clear()
            try:
                self.viewer.open_sample(NAME, sample.key)
            except Exception as error:
                if not (self.offline and NO_NETWORK in str(error)):
                    raise
                self.tried("sample", sample.key, "says that there is no network")
                continue
            self.tried("sample", sample.key, f"{len(self.viewer.layers)} layers")
            if not len(self.viewer.layers):
                raise SystemExit(f"the sample {sample.key} has no layers")

    # ---------------------------------------------------------------- files

    def open_files(self) -> None:
        """Give every reader a file of each of its patterns, and a folder if it takes folders."""
        image, points = example()
        makers = file_makers(image, points)
        for reader in self.given["readers"]:
            patterns = [*reader.filename_patterns, *(["folder"] if reader.accepts_directories else [])]
            for pattern in patterns:
                if pattern not in makers:
                    raise SystemExit(f"nothing here makes a file of the pattern {pattern}")
                path = self.folder / f"read{pattern.removeprefix('*')}"
                makers[pattern](path)
                (layer,) = self.opened(path)
                compare(layer, points if layer._type_string == "points" else image, path)
                self.tried("reader", path.name, layer._type_string)

    def opened(self, path: Path) -> list[Any]:
        """Open a file by the plugin's reader and return the layers."""
        self.viewer.layers.clear()
        self.viewer.open(str(path), plugin=NAME)
        return list(self.viewer.layers)

    def write_files(self) -> None:
        """Save a layer by every writer with each of its suffixes, and read the file back."""
        from napari.layers import Layer

        from napari_ran.io import load_image, load_labels, load_landmarks
        from napari_ran.io.layers import to_layer_data

        image, points = example()
        labels = as_labels(image)
        kinds = {"image": (image, load_image), "labels": (labels, load_labels), "points": (points, load_landmarks)}
        for writer in self.given["writers"]:
            (kind,) = {str(one).rstrip("?*+") for one in writer.layer_types}
            value, load = kinds[kind]
            for suffix in writer.filename_extensions:
                self.viewer.layers.clear()
                layer = self.viewer.add_layer(Layer.create(*to_layer_data(value)))
                path = self.folder / f"written-{kind}{suffix}"
                if self.viewer.layers.save(str(path), plugin=NAME) != [str(path)]:
                    raise SystemExit(f"{path.name} was not written")
                compare(Layer.create(*to_layer_data(load(path))), value, path)
                self.tried("writer", path.name, writer.display_name or layer.name)

    def look_at_settings(self) -> None:
        """Find every setting in napari's preferences, with the value that the manifest says."""
        from napari.settings import get_plugin_settings

        found = get_plugin_settings(NAME)
        for key, section in self.given.get("configurations", {}).items():
            for name, prop in section.properties.items():
                value = getattr(getattr(found, key), name)
                if not prop.title:
                    raise SystemExit(f"the setting {key}.{name} has no title")
                self.tried("setting", f"{key}.{name}", repr(value))


def example() -> tuple[Any, Any]:
    """Return a small image that lies askew, and landmarks in it."""
    import napari_ran as ran

    affine = np.array([[0, -1.2, 0, 5], [2.0, 0, 0, -7], [0, 0, 2.5, 11], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(0, 200, (7, 6, 5)).astype(np.float32)
    grid = ran.Grid(values.shape, affine)
    return ran.Image(values, grid, "example"), ran.Landmarks(grid.to_world([[1, 2, 3], [4, 2, 1]]), "points")


def as_labels(image: Any) -> Any:
    """Return a label map on the grid of an image."""
    import napari_ran as ran

    return ran.Labels((image.array // 70).astype(np.int32), image.grid, "labels")


def file_makers(image: Any, points: Any) -> dict[str, Callable[[Path], Any]]:
    """Return what writes a file for each pattern of the reader, by other means than the plugin where there are any."""
    import nibabel as nib
    import SimpleITK as sitk

    values, affine = image.array, image.grid.affine

    def nifti(path: Path) -> None:
        nib.save(nib.Nifti1Image(values, affine), path)

    def itk(path: Path) -> None:
        sitk.WriteImage(itk_volume(image), str(path))

    def fcsv(path: Path) -> None:
        rows = [f"P{n},{x},{y},{z},0,0,0,1,1,1,0,P,," for n, (x, y, z) in enumerate(points.points)]
        path.write_text("# Markups fiducial file version = 4.11\n# CoordinateSystem = RAS\n" + "\n".join(rows) + "\n")

    def markups(path: Path) -> None:
        import json

        listed = [{"id": str(n), "position": list(map(float, point))} for n, point in enumerate(points.points)]
        markup = {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": listed}
        path.write_text(json.dumps({"markups": [markup]}))

    return {
        "*.nii": nifti,
        "*.nii.gz": nifti,
        "*.mgz": lambda path: nib.save(nib.MGHImage(values, affine), path),
        **dict.fromkeys(("*.mha", "*.mhd", "*.nrrd", "*.nhdr"), itk),
        "*.fcsv": fcsv,
        "*.mrk.json": markups,
        "*.ome.zarr": lambda path: write_zarr(image, path),
        "folder": lambda path: write_dicom(image, path),
    }


def itk_volume(image: Any) -> Any:
    """Return the image as ITK keeps it: axes turned round, millimetres towards left and posterior."""
    import SimpleITK as sitk

    flip = np.diag([-1.0, -1.0, 1.0])
    matrix, spacing = flip @ image.grid.affine[:3, :3], image.grid.spacing
    volume = sitk.GetImageFromArray(image.array.transpose(2, 1, 0))
    volume.SetOrigin(flip @ image.grid.affine[:3, 3])
    volume.SetSpacing([float(s) for s in spacing])
    volume.SetDirection((matrix / spacing).ravel())
    return volume


def write_dicom(image: Any, folder: Path) -> None:
    """Write a series of one slice a file."""
    import SimpleITK as sitk

    folder.mkdir()
    volume = sitk.Cast(itk_volume(image), sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = np.array(volume.GetDirection()).reshape(3, 3)
    for index in range(volume.GetDepth()):
        part = volume[:, :, index]
        place = volume.TransformIndexToPhysicalPoint((0, 0, index))
        tags = {"0020|000e": "1.2.3", "0008|0018": f"1.2.3.{index}", "0008|0060": "CT", "0020|0013": str(index)}
        tags |= {"0020|0032": "\\".join(f"{v:.6g}" for v in place)}
        tags |= {"0020|0037": "\\".join(f"{v:.6g}" for v in (*direction[:, 0], *direction[:, 1]))}
        for tag, text in tags.items():
            part.SetMetaData(tag, text)
        writer.SetFileName(str(folder / f"{index}.dcm"))
        writer.Execute(part)


def write_zarr(image: Any, path: Path) -> None:
    """Write an OME-Zarr image, which cannot lie askew: it has the example's values and their spacing."""
    import zarr

    scale = [float(s) for s in image.grid.spacing[::-1]]
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    data_set = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.create_array("0", data=np.ascontiguousarray(image.array.transpose(2, 1, 0)))
    group.update_attributes({"ome": {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [data_set]}]}})


def compare(layer: Any, wanted: Any, path: Path) -> None:
    """End with an error unless a layer holds what was written, where it was."""
    from napari_ran.io.layers import to_layer_data

    data, given, _ = to_layer_data(wanted)
    found, whole = np.asarray(layer.data), np.asarray(layer.affine.affine_matrix)
    corner = np.array([*(np.array(found.shape) - 1), 1.0]) if layer._type_string != "points" else None
    if corner is None:
        places = [
            np.c_[part, np.ones(len(part))] @ np.asarray(at).T for part, at in ((found, whole), (data, given["affine"]))
        ]
        same = np.allclose(*places, atol=1e-3)
    elif path.name.endswith(".ome.zarr"):
        same = np.array_equal(found, data) and np.allclose(np.abs(np.diag(whole))[:3], wanted.grid.spacing[::-1])
    else:
        same = np.array_equal(found, data) and np.allclose(whole @ corner, given["affine"] @ corner, atol=1e-3)
    if not same:
        raise SystemExit(f"{path.name} does not hold what was written, or not where it was")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--offline", action="store_true", help="samples that have to be fetched may say that they cannot"
    )
    arguments = parser.parse_args()
    import napari_ran

    print(f"{NAME} {napari_ran.__version__} from {Path(napari_ran.__file__).parent}")
    with tempfile.TemporaryDirectory() as folder:
        newcomer = Newcomer(Path(folder), arguments.offline)
        newcomer.manifest.validate_imports()
        newcomer.open_widgets()
        gc.freeze()  # napari collects garbage whenever it clears its layers: what is loaded by now is left out
        newcomer.open_samples()
        newcomer.open_files()
        newcomer.write_files()
        if "configurations" in newcomer.given:
            newcomer.look_at_settings()
        newcomer.viewer.close()
    print(f"{newcomer.count} things opened, written or found")


if __name__ == "__main__":
    sys.exit(main())
