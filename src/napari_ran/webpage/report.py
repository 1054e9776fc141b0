"""What the report of an inspection says, section by section."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ran.errors import InputError
from napari_ran.introspect.ablation import AblationStep, ablation_study
from napari_ran.introspect.ablation_table import Part
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.io.folders import filling
from napari_ran.models import RAN
from napari_ran.parsing import parse_json, parse_yaml
from napari_ran.steps import last, relay
from napari_ran.webpage.files import FORMATS, Format, write_arrays
from napari_ran.webpage.manifest import list_files, written_before
from napari_ran.webpage.page import Page
from napari_ran.webpage.sections import SECTIONS, ablation_section, provenance_section


@dataclass(frozen=True)
class ReportStep:
    """A part of the report is under way: `step` of `total` are done, and `message` says what comes."""

    step: int
    total: int
    message: str


def write_report(inspection: Inspection, folder: str | Path, **options: Any) -> Path:
    """Write the report without watching its progress; see `report_steps`.

    Parameters
    ----------
    inspection : Inspection
        What to report on.
    folder : path
        Where to write; made if missing.
    **options
        Further arguments of `report_steps`.
    """
    return last(report_steps(inspection, folder, **options))


def report_steps(
    inspection: Inspection,
    folder: str | Path,
    *,
    ablation: bool = False,
    formats: Collection[Format] = FORMATS,
    details: Mapping[str, Any] | None = None,
) -> Generator[ReportStep, None, Path]:
    """Write ``index.html`` and the arrays of every stage into a folder, all or nothing.

    The page embeds its pictures and needs no other file. What the inspection does not have is left out, and the page
    says why.

    Parameters
    ----------
    inspection : Inspection
        What is reported.
    folder : path
        Where; made if needed. Files that an earlier report wrote there go, whatever else lies there stays.
    ablation : bool
        Also switch off every head one at a time. It runs the network's levels again for each, which takes minutes on a
        large volume.
    formats : collection of {"npz", "nifti"}
        Which files of arrays to write beside the page, into ``arrays/``; none if empty.
    details : mapping, optional
        What is recorded of how the registration was made; by default what the inspection knows of it.

    Yields
    ------
    ReportStep
        Before each part. Closing the generator stops, and nothing is written.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        A format is not known, or an ablation is asked for and there is no network.
    OutputError
        A file could not be written; the folder is as it was before.
    """
    if unknown := set(formats) - set(FORMATS):
        raise InputError("formats", f"unknown: {', '.join(sorted(unknown))}", f"Use some of {', '.join(FORMATS)}")
    ablated = inspection.trace if ablation else None
    if ablation and ablated is None:
        raise InputError("ablation", f"there is no network to ablate. {inspection.note}".strip(), "Leave it out")
    if ablated is not None and not isinstance(ablated.model, RAN):
        raise InputError("ablation", f"a {ablated.model.system} has no parts to switch off", "Leave it out")
    return _report(inspection, folder, ablated, formats, inspection.details if details is None else details)


def _report(
    inspection: Inspection,
    folder: str | Path,
    ablated: NetworkTrace | None,
    formats: Collection[Format],
    details: Mapping[str, Any],
) -> Generator[ReportStep, None, Path]:
    page = Page(f"{inspection.name}: level by level")
    if inspection.note:
        page.note(inspection.note)
    files = len(inspection.stages) * len(inspection.directions) * len(set(formats))
    total, done = len(SECTIONS) + files + int(ablated is not None) + 1, 0
    with filling(folder, obsolete=written_before) as new:
        for name, section in SECTIONS.items():
            yield ReportStep(done, total, name)
            section(inspection, page)
            done += 1
        if ablated is not None:
            yield from _ablation(inspection, ablated, page, new, done, total)
            done += 1
        provenance_section(inspection, page, details)
        if formats:
            for message in write_arrays(inspection, new / "arrays", formats):
                yield ReportStep(done, total, message)
                done += 1
        yield ReportStep(done, total, "page")
        (new / "index.html").write_text(page.html(), encoding="utf-8")
        if details:
            (new / "provenance.json").write_text(json.dumps(details, indent=2, default=str), encoding="utf-8")
        list_files(new)
    return Path(folder) / "index.html"


def provenance(folder: str | Path) -> dict[str, Any]:
    """Return what a result folder says of its making: the report and the settings, as far as they are there.

    A file that cannot be read is named with the reason: the levels can be shown without it.
    """
    found: dict[str, Any] = {}
    readers: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
        ("Report of the registration", "report.json", parse_json),
        ("Settings", "settings.yaml", parse_yaml),
    )
    for name, file, read in readers:
        path = Path(folder) / file
        if path.is_file():
            try:
                found[name] = read(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                found[name] = f"{file} cannot be read ({type(error).__name__})"
    return found


def _ablation(
    inspection: Inspection, trace: NetworkTrace, page: Page, folder: Path, done: int, total: int
) -> Generator[ReportStep, None, None]:
    """Run the study over all heads, write its table, and show it."""
    given: dict[str, Any] = {}
    for kind in ("labels", "landmarks"):
        pair = getattr(inspection, kind)
        if pair is not None:
            given |= {f"fixed_{kind}": pair[0], f"moving_{kind}": pair[1]}
    which: tuple[Part, ...] = ("head",)

    def event(step: AblationStep) -> ReportStep:
        return ReportStep(done, total, f"switching off heads: {step.step} of {step.total}")

    table = yield from relay(ablation_study(trace, which, **given), event)
    table.to_csv(folder / "ablation.csv")
    ablation_section(table, page)
