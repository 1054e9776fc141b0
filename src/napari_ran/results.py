"""The result of a registration, and how it is written to disk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ran import figures
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField, Image, Labels, Landmarks
from napari_ran.evaluate import Report, inverse_consistency
from napari_ran.introspect import storage
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.io import save_field, save_image, save_labels, save_landmarks
from napari_ran.io.folders import filling
from napari_ran.models.outputs import LevelOutput

GIVEN = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
"""What a registration is given beside the pair, and keeps."""


@dataclass(frozen=True, eq=False)
class Registration:
    """Everything that a registration found.

    Attributes
    ----------
    fixed, moving : Image
        The pair as it was given.
    warped : Image
        The moving image on the fixed grid, interpolated once from the original.
    field : DisplacementField
        The whole transform (affine and deformable) on the fixed grid, in voxels of it; fixed point to moving point.
    inverse_field : DisplacementField
        The other direction, on the moving grid.
    report : Report
        The figures.
    config : RegistrationConfig
        The settings of the run.
    trace : NetworkTrace, optional
        What the network was given and what each Residual Aligner computed; None unless ``keep_levels`` was asked for.
    warped_labels : Labels, optional
        The moving labels on the fixed grid.
    warped_landmarks : Landmarks, optional
        The moving landmarks brought to the fixed image, through the inverse.
    fixed_labels, moving_labels : Labels, optional
        As they were given.
    fixed_landmarks, moving_landmarks : Landmarks, optional
        As they were given.
    affine : (D + 1, D + 1) array, optional
        The affine part of `field`, which follows the deformable one: fixed world to moving world in mm.
    """

    fixed: Image
    moving: Image
    warped: Image
    field: DisplacementField
    inverse_field: DisplacementField
    report: Report
    config: RegistrationConfig
    trace: NetworkTrace | None = None
    warped_labels: Labels | None = None
    warped_landmarks: Landmarks | None = None
    fixed_labels: Labels | None = None
    moving_labels: Labels | None = None
    fixed_landmarks: Landmarks | None = None
    moving_landmarks: Landmarks | None = None
    affine: NDArray[np.float64] | None = None

    @property
    def levels(self) -> tuple[LevelOutput, ...]:
        """What each Residual Aligner computed, coarse to fine; empty unless ``keep_levels`` was asked for."""
        return () if self.trace is None else self.trace.levels

    @cached_property
    def inverse_consistency(self) -> Image:
        """How far each fixed voxel ends from its start after going there and back, in mm, on the fixed grid."""
        return inverse_consistency(self.field, self.inverse_field)[0]

    def save(self, folder: str | Path) -> Path:
        """Write the result files into a folder, all or none.

        ``warped.nii.gz``, ``field.h5`` (ITK transform: the deformable part and the affine one), ``inverse_field.h5``
        (the other direction, on the moving image's grid), ``disp.nii.gz`` (Learn2Reg), ``report.json``,
        ``settings.yaml``, ``summary.png``, and ``warped_labels.nii.gz`` or ``warped_landmarks.csv`` where there are
        some. With ``keep_levels`` also a folder ``levels``, from which `Inspection.load` inspects the result without
        the original images. Files of these names are replaced; other files in the folder stay.

        Parameters
        ----------
        folder : path
            Where to write; made if missing.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OutputError
            A file could not be written; the folder is as it was before.
        """
        with filling(folder, obsolete=storage.left_over) as new:
            self._write(new)
        return Path(folder)

    def _write(self, folder: Path) -> None:
        save_image(self.warped, folder / "warped.nii.gz")
        save_field(self.field, folder / "field.h5", affine=self.affine)
        back = None if self.affine is None else np.linalg.inv(self.affine)
        save_field(self.inverse_field, folder / "inverse_field.h5", affine=back)
        save_field(self.field, folder / "disp.nii.gz")
        if self.warped_labels is not None:
            save_labels(self.warped_labels, folder / "warped_labels.nii.gz")
        if self.warped_landmarks is not None:
            save_landmarks(self.warped_landmarks, folder / "warped_landmarks.csv")
        (folder / "report.json").write_text(self.report.to_json(), encoding="utf-8")
        self.config.to_yaml(folder / "settings.yaml")
        if self.trace is not None:
            storage.save_registration(self, folder)
        figures.summary(self.fixed, self.moving, self.warped, self.field).savefig(folder / "summary.png")
