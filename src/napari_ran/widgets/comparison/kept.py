"""What was found for many pairs: the measures in memory, the fields in files until their pair is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import napari_ran as ran
from napari_ran.benchmark import Compared
from napari_ran.cases import Case, load_case
from napari_ran.errors import OutputError
from napari_ran.inputs import Inputs
from napari_ran.transform import warp_image


class KeptFields:
    """The fields of a comparison over many pairs, in a temporary folder that goes with this object."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="napari-ran-compare-", ignore_cleanup_errors=True)
        self._files: dict[tuple[str, str], Path] = {}

    def put(self, case: str, found: Compared) -> Compared:
        """Write the field of a result and return the result without it.

        Raises
        ------
        OutputError
            The field could not be written.
        """
        if found.field is None:
            return found
        path = Path(self._folder.name) / f"{len(self._files)}.npy"
        try:
            np.save(path, found.field.tensor.cpu().numpy())
        except OSError as error:
            problem = f"a field could not be kept ({error.strerror or error})"
            raise OutputError(self._folder.name, problem, "Free some space, or compare fewer cases") from None
        self._files[case, found.name] = path
        return replace(found, field=None, warped=None)

    def open(self, case: Case, results: Sequence[Compared]) -> tuple[Inputs, list[Compared]]:
        """Return a pair and its results with their fields and warped images.

        Raises
        ------
        InputError
            The pair can no longer be read.
        """
        inputs = load_case(case)
        return inputs, [self._with_field(case, inputs, found) for found in results]

    def _with_field(self, case: Case, inputs: Inputs, found: Compared) -> Compared:
        path = self._files.get((case.name, found.name))
        if path is None:
            return found
        field = ran.DisplacementField(np.load(path), inputs.fixed.grid)
        return replace(found, field=field, warped=warp_image(inputs.moving, field))
