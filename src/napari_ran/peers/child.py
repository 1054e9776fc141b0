"""Other registration tools, one small function each; run as a program of its own, ``python child.py JOB.json``.

This file imports nothing of the package: a tool has the process to itself, with only its own libraries in it. The job
names the tool, both images (MHA), the file for the displacement field (ITK vector image on the fixed grid, mm, LPS)
and the tool's options. The last line of the output is a JSON object: the seconds of the registration alone, without
imports, reading and writing, by the clock and of all cores' work, and the peak memory of the process in bytes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_seconds = _processor = 0.0


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    global _seconds, _processor
    start, worked = time.perf_counter(), time.process_time()
    yield
    _seconds += time.perf_counter() - start
    _processor += time.process_time() - worked


def demons(fixed: str, moving: str, out: str, levels: int = 3, iterations: int = 60, sigma: float = 1.5) -> None:
    """Diffeomorphic demons of SimpleITK (Vercauteren et al., 2009), coarse to fine, after matching histograms."""
    import SimpleITK as sitk

    target, source = (sitk.ReadImage(name, sitk.sitkFloat32) for name in (fixed, moving))
    with _timed():
        source = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, 0.0)
        source = sitk.HistogramMatching(source, target, 256, 7, True)
        field = None
        for level in reversed(range(levels)):
            factor = 2**level
            size = [max(8, round(n / factor)) for n in target.GetSize()]
            size = [min(n, full) for n, full in zip(size, target.GetSize(), strict=True)]
            here = _resized(target, size)
            there = _resized(source, size)
            filter_ = sitk.DiffeomorphicDemonsRegistrationFilter()
            filter_.SetNumberOfIterations(iterations)
            filter_.SetStandardDeviations(sigma)
            if field is None:
                field = filter_.Execute(here, there)
            else:
                field = filter_.Execute(here, there, sitk.Resample(field, here))
    sitk.WriteImage(sitk.Cast(sitk.Resample(field, target), sitk.sitkVectorFloat64), out)


def _resized(image: Any, size: list[int]) -> Any:
    import SimpleITK as sitk

    if list(image.GetSize()) == size:
        return image
    ratio = [full / new for full, new in zip(image.GetSize(), size, strict=True)]
    spacing = [s * r for s, r in zip(image.GetSpacing(), ratio, strict=True)]
    smooth = sitk.DiscreteGaussian(
        image, [(0.5 * s) ** 2 if r > 1 else 0.0 for s, r in zip(spacing, ratio, strict=True)]
    )
    origin = image.TransformContinuousIndexToPhysicalPoint([0.5 * (r - 1) for r in ratio])
    return sitk.Resample(smooth, size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection())


def ants_syn(fixed: str, moving: str, out: str, type_of_transform: str = "SyN", **options: Any) -> None:
    """Affine and symmetric normalisation of ANTs (Avants et al., 2008) with its defaults: mutual information."""
    import ants

    target, source = ants.image_read(fixed), ants.image_read(moving)
    with tempfile.TemporaryDirectory() as folder:
        with _timed():
            found = ants.registration(
                target,
                source,
                type_of_transform=type_of_transform,
                outprefix=f"{folder}/ants-",
                random_seed=1,
                **options,
            )
        whole = ants.apply_transforms(target, source, found["fwdtransforms"], compose=f"{folder}/whole-")
        ants.image_write(ants.image_read(whole), out)


def elastix(fixed: str, moving: str, out: str, spacing: float | None = None, resolutions: int | None = None) -> None:
    """Affine and B-spline registration of elastix (Klein et al., 2010) with its default parameter maps."""
    import itk

    target, source = (itk.imread(name, itk.F) for name in (fixed, moving))
    parameters = itk.ParameterObject.New()
    for name in ("affine", "bspline"):
        levels = () if resolutions is None else (resolutions,)
        values = parameters.GetDefaultParameterMap(name, *levels)
        if name == "bspline" and spacing is not None:
            values["FinalGridSpacingInPhysicalUnits"] = [str(spacing)]
        values["WriteResultImage"] = ["false"]
        parameters.AddParameterMap(values)
    with _timed():
        _, found = itk.elastix_registration_method(target, source, parameter_object=parameters, log_to_console=False)
    itk.imwrite(itk.transformix_deformation_field(source, found), out)


def convexadam(fixed: str, moving: str, out: str, **options: Any) -> None:
    """ConvexAdam (Siebert et al., 2024) with its package's defaults, the moving image on the fixed grid."""
    import numpy as np
    import SimpleITK as sitk
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    target, source = (sitk.ReadImage(name, sitk.sitkFloat32) for name in (fixed, moving))
    lowest = float(sitk.GetArrayViewFromImage(source).min())
    source = sitk.Resample(source, target, sitk.Transform(), sitk.sitkLinear, lowest)
    arrays = [sitk.GetArrayFromImage(image) for image in (target, source)]
    with _timed():
        voxels = convex_adam_pt(*arrays, dtype=torch.float32, device=torch.device("cpu"), **options)
    # components along z, y, x in voxels; ITK wants x, y, z in mm along the world's axes
    direction = np.reshape(target.GetDirection(), (3, 3)) * target.GetSpacing()
    field = sitk.GetImageFromArray(voxels[..., ::-1] @ direction.T, isVector=True)
    field.CopyInformation(target)
    sitk.WriteImage(field, out)


TOOLS: dict[str, Callable[..., None]] = {
    "demons": demons,
    "ants-syn": ants_syn,
    "elastix-bspline": elastix,
    "convexadam": convexadam,
}


def main() -> None:
    """Do the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(sys.stderr):
        TOOLS[job["tool"]](job["fixed"], job["moving"], job["out"], **job["options"])
    print(json.dumps({"seconds": _seconds, "processor_seconds": _processor, "peak_bytes": _peak_bytes()}))


def _peak_bytes() -> int:
    """Return this process's peak memory; on Linux its usage record begins with that of the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        try:
            import resource
        except ImportError:  # Windows
            return 0
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
