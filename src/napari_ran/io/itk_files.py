"""Reading images by SimpleITK, once what their headers claim has been looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from napari_ran.io.claims import PACKED, detached, refuse_claim, refuse_header
from napari_ran.io.geometry import quiet_itk

_BYTES = {"8-bit": 1, "16-bit": 2, "32-bit": 4, "64-bit": 8}
_TEXT = (".mha", ".mhd", ".nrrd", ".nhdr")


def read_by_itk(path: Path, check: Callable[[sitk.ImageFileReader], None] | None = None) -> sitk.Image:
    """Read an image file.

    Parameters
    ----------
    path : Path
        The file.
    check : callable, optional
        Given the reader once it knows the header, to refuse what is not wanted before any voxel is read.

    Raises
    ------
    InputError
        The header claims more than the file or the memory can hold, or would harm the reader.
    RuntimeError
        ITK cannot read it.
    """
    if path.suffix.lower() in _TEXT:
        refuse_header(path)
    with quiet_itk():
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        if check is not None:
            check(reader)
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        itemsize = next((n for name, n in _BYTES.items() if name in kind), 1) * reader.GetNumberOfComponents()
        deflated = path.suffix.lower() in (*_TEXT, ".png") and not detached(path)
        refuse_claim(reader.GetSize(), itemsize, path.stat().st_size * PACKED if deflated else None)
        return reader.Execute()


__all__ = ["read_by_itk"]
