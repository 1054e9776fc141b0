"""The sections of an inspection's report; each says in a sentence what it shows, or why it has nothing to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ran import figures
from napari_ran._version import __version__
from napari_ran.data import Labels
from napari_ran.data.grid import shape_text
from napari_ran.errors import InputError
from napari_ran.introspect.ablation_table import AblationTable
from napari_ran.introspect.boundary import boundary_motion
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.probe import probe
from napari_ran.introspect.study import level_information, stage_labels, stage_separability
from napari_ran.theory import level_table
from napari_ran.webpage.page import Cell, Page

PROBES = 4
"""Points that are probed."""

CONTACTS = 8
"""Pairs of labels whose common boundary is measured, the longest ones."""

CONTROLS, SIGNIFICANT = 100, 0.05
"""Moved label maps that the heads are compared with, and the largest chance that passes for none."""

PAIRS, LEVEL_PAIRS = 2_000_000, 500_000
"""Pairs of points that are drawn for a final field, and for a level."""

TINY_MM = 1e-6
"""Relative errors are taken of displacements no smaller than this."""


def summary_section(inspection: Inspection, page: Page) -> None:
    """Say in a few sentences what the result is, and which stage did most of it."""
    page.section("Summary")
    last = inspection.metrics(len(inspection.stages) - 1)
    facts = [f"{len(inspection.stages)} stages"] if len(inspection.stages) > 1 else ["One stage"]
    facts.append(f"displacement {last.mean_mm:.2f} mm on average, at most {last.max_mm:.2f} mm")
    facts += [] if last.similarity is None else [f"similarity {last.similarity:.3f}"]
    facts += [] if last.dice_mean is None else [f"mean Dice {last.dice_mean:.3f}"]
    facts += [] if last.tre_mm is None else [f"landmark error {last.tre_mm:.2f} mm"]
    page.text("; ".join([*facts, f"folds in {last.folding_percent:.3g} % of the voxels"]) + ".")
    added = {
        stage.title: float(inspection.get("increment", stage.index).magnitude.mean())
        for stage in inspection.stages
        if not inspection.why_not("increment", stage.index)
    }
    if len(added) > 1:
        most = max(added, key=lambda title: added[title])
        rest = ", ".join(f"{title} {mm:.2f}" for title, mm in added.items())
        page.text(f"Most was added by: {most}. Mean length of what each stage added, in mm: {rest}.")


def stages_section(inspection: Inspection, page: Page) -> None:
    """Write what each stage achieves."""
    page.section("Stages")
    page.text(
        "Each line is the displacement as it is after that stage, coarse to fine.",
        "Similarity is the mean squared local cross correlation of the warped and the fixed image.",
        "Dice and TRE are there where labels and landmarks were given.",
    )
    for direction in inspection.directions:
        _stages_table(inspection, direction, page)


ON = {
    "forward": "On the fixed image: the moving image is pulled to it.",
    "inverse": "On the moving image: the fixed image is pulled to it.",
}
"""What the directions are."""


def _stages_table(inspection: Inspection, direction: str, page: Page) -> None:
    rows: list[list[Cell]] = []
    missing = []
    for stage in inspection.stages:
        if why := inspection.why_not("field", stage.index, direction):
            missing.append(f"{stage.title} is not in it: {why[0].lower()}{why[1:]}.")
            continue
        found = inspection.metrics(stage.index, direction)
        rows.append(
            [
                stage.title,
                stage.pool_size,
                stage.capture_range,
                found.mean_mm,
                found.max_mm,
                found.similarity,
                found.folding_percent,
                found.smoothness,
                found.dice_mean,
                found.tre_mm,
            ]
        )
    header = ["stage", "voxel", "capture range", "mean mm", "largest mm", "similarity", "folds %", "smoothness"]
    header += ["Dice", "TRE mm"]
    caption = "Voxel and capture range in voxels of the network's image; smoothness is the mean squared gradient."
    page.text(ON[direction], *missing)
    page.table(*_without_empty(header, rows), caption)


def _without_empty(header: list[str], rows: list[list[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Return a table without the columns in which no row has anything."""
    used = [i for i in range(len(header)) if any(row[i] is not None for row in rows)]
    return [header[i] for i in used], [[row[i] for i in used] for row in rows]


def filmstrip_section(inspection: Inspection, page: Page) -> None:
    """Draw all stages along one plane."""
    page.section("Filmstrip")
    for direction in inspection.directions:
        strip = figures.frames(inspection, direction=direction)
        heads = 0 if inspection.trace is None else inspection.trace.model.config.heads
        on = "Fixed" if direction == "forward" else "Moving"
        caption = f"All stages of the field on the {on.lower()} image, in one plane."
        page.figure(figures.filmstrip(*strip, heads=heads, image=on), caption)


def heads_section(inspection: Inspection, page: Page) -> None:
    """Say which head follows which label, against labels that were moved."""
    page.section("Heads and labels")
    if inspection.trace is None or inspection.labels is None:
        page.text("This needs the levels of a network and labels of both images.")
        return
    found = level_information(inspection, shuffles=CONTROLS)
    above = [level for level, one in found.items() if one.p_value * len(found) < SIGNIFICANT]
    which = ", ".join(str(level) for level in above)
    page.text(
        "The share of the label's entropy that the head masks tell, against the same labels moved to other places.",
        f"It is above what chance gives at level {which}: there the heads follow the labels."
        if above
        else "At no level is it above what chance gives: these heads do not follow these labels.",
        f"({CONTROLS} controls; p below {SIGNIFICANT:g}, divided by the number of levels.)",
    )
    rows: list[list[Cell]] = [
        [f"Level {level}", one.information, float(np.mean(one.control)), one.p_value] for level, one in found.items()
    ]
    page.table(["level", "information", "control, mean", "p"], rows)
    names = {label: str(name) for label, name in inspection.labels[0].names.items()}
    page.figure(figures.heads(found, names), "What each head's mask tells of the labels, level by level.")


def separability_section(inspection: Inspection, page: Page) -> None:
    """Draw the motion-separability PDF of every stage."""
    page.section("Motion separability")
    try:
        found = {
            stage.title: stage_separability(
                inspection, stage.index, pairs=PAIRS if stage.level is None else LEVEL_PAIRS
            )
            for stage in inspection.stages
        }
    except InputError as error:
        page.text(f"Not measured: {error.problem}.")
        return
    page.text(
        "How often two correctly registered points at a distance have displacements that differ by so much; both as",
        "Chebyshev lengths in voxels. The line is what the network's layout guarantees. It is no upper limit, so",
        "a part of the pairs may lie above it. The pictures are smoothed by one voxel, as in the paper, so that even",
        "a still field reaches up to a difference of about four; the table counts before that.",
    )
    rows: list[list[Cell]] = [
        [name, one.pairs, None if one.above_bound is None else _percent(one.above_bound), _percent(one.beyond)]
        for name, one in found.items()
    ]
    page.table(["stage", "pairs", "above the line %", "outside the picture %"], rows)
    names = list(found)
    page.figure(figures.separability(found[names[-1]]), f"{names[-1]}.")
    for start in range(0, len(names) - 1, 3):
        part = names[start : min(start + 3, len(names) - 1)]
        page.figure(figures.separability({name: found[name] for name in part}), ", ".join(part) + ".")


def boundary_section(inspection: Inspection, page: Page) -> None:
    """Measure slip and gap between the labels that touch."""
    page.section("Sliding")
    if inspection.labels is None:
        page.text("Slip and gap are measured between labels, and there are none.")
        return
    stages = [stage for stage in inspection.stages if stage.level is None] or list(inspection.stages[-1:])
    rows: list[list[Cell]] = []
    for stage in stages:
        field = inspection.source.transform(stage, "forward")
        own = inspection.labels[0]
        labels = inspection.source.own_labels(own, "forward")
        for first, second in _contacts(labels):
            values = labels.array
            try:
                motion = boundary_motion(field, values == first, values == second).summary()
            except InputError:
                continue
            name = f"{own.names.get(first, first)} to {own.names.get(second, second)}"
            rows.append(
                [
                    name,
                    stage.title,
                    int(motion["points"]),
                    motion["slip_mean_mm"],
                    motion["slip_p95_mm"],
                    motion["gap_mean_mm"],
                ]
            )
    if not rows:
        page.text("No two labels touch each other.")
        return
    page.text("The jump of the displacement across the boundary of two labels: slip along it, gap across it.")
    header = ["boundary", "stage", "points", "slip, mean mm", "slip, 95th percentile mm", "gap, mean mm"]
    page.table(header, sorted(rows, key=lambda row: str(row[0])))


def _contacts(labels: Labels) -> list[tuple[int, int]]:
    """Return the pairs of labels with the most neighbouring voxels."""
    values = labels.array
    counts: dict[tuple[int, int], int] = {}
    for axis in range(values.ndim):
        along = np.moveaxis(values, axis, 0)
        left, right = along[:-1].ravel(), along[1:].ravel()
        touching = (left != right) & (left > 0) & (right > 0)
        ends = np.sort(np.stack([left[touching], right[touching]], 1), axis=1)
        for pair, count in zip(*np.unique(ends, axis=0, return_counts=True), strict=True):
            key = (int(pair[0]), int(pair[1]))
            counts[key] = counts.get(key, 0) + int(count)
    return sorted(counts, key=lambda key: (-counts[key], key))[:CONTACTS]


def probes_section(inspection: Inspection, page: Page) -> None:
    """Follow a few points through the stages."""
    page.section("Points")
    named = {name: found for name, point in _points(inspection) if (found := probe(inspection, point)) is not None}
    if not named:
        page.text("There is no image that says where to look.")
        return
    page.text(
        "Where a point is looked up after each stage, and the parts that its displacement is the exact sum of, with",
        "the gates of the rectifiers as they are for this input. They say how the number came about, not what would",
        "happen without a part: that is what switching it off shows.",
    )
    rows: list[list[Cell]] = []
    for name, found in named.items():
        sums = [
            stage.incompleteness / max(float(np.linalg.norm(stage.displacement)), TINY_MM)
            for stage in found.stages
            if stage.contributions
        ]
        place = ", ".join(f"{value:.1f}" for value in found.point)
        length = float(np.linalg.norm(found.stages[-1].displacement))
        rows.append([name, place, length, max(sums) if sums else None])
    page.table(["point", "at mm", "displacement mm", "largest relative error of the sum"], rows)
    page.figure(figures.probe(list(named.values()), list(named)), "Paths and contributions.")


def _points(inspection: Inspection) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield named points inside the largest labels, or spread over the foreground; always the same ones."""
    image = inspection.image()
    if inspection.labels is not None:
        labels = stage_labels(inspection)
        ids = sorted(labels.ids, key=lambda label: (-int((labels.array == label).sum()), label))[:PROBES]
        for label in ids:
            voxels = np.argwhere(labels.array == label)
            middle = voxels[np.linalg.norm(voxels - voxels.mean(0), axis=1).argmin()]
            yield str(inspection.labels[0].names.get(label, f"label {label}")), labels.grid.to_world(middle)
    elif image is not None:
        values = image.array
        voxels = np.argwhere(values > values.min() + 0.1 * np.ptp(values))
        for share in (np.arange(PROBES) + 0.5) / PROBES:
            if len(voxels):
                yield f"point {share:.3f}", image.grid.to_world(voxels[int(share * len(voxels))])


def ablation_section(table: AblationTable, page: Page) -> None:
    """Show what switching each head off changes."""
    page.section("Ablation")
    page.text(
        "Each head is switched off by itself in the forward pass, and the levels behind it run again. A negative",
        "change of similarity or Dice, or a positive one of the TRE, says that the head helps.",
    )
    if table.note:
        page.note(table.note)
    rows: list[list[Cell]] = [
        [
            f"level {row.level}, head {row.head}",
            *(
                None if value is None else round(value, 4)
                for value in (row.mean_mm, row.max_mm, row.similarity_change, row.dice_change, row.tre_change_mm)
            ),
        ]
        for row in table.rows
    ]
    header = ["switched off", "mean change mm", "largest mm", "similarity", "Dice", "TRE mm"]
    page.table(*_without_empty(header, rows))


def theory_section(inspection: Inspection, page: Page) -> None:
    """Say what the equations promise for the network's layout."""
    page.section("What the layout promises")
    if inspection.trace is None:
        page.text("There is no network.")
        return
    config = inspection.trace.model.config
    rows: list[list[Cell]] = [
        [
            f"Level {one.level}",
            one.pool_size,
            one.dilation,
            one.field_size,
            one.capture_range,
            one.total_difference,
            one.threshold,
        ]
        for one in level_table(config)
    ]
    header = ["level", "voxel p", "dilation", "field of view s", "capture range a", "total T", "from distance t"]
    page.table(header, rows, "In voxels of the network's image; Eq. 4 to 9 as printed.")
    page.figure(figures.theory({"this network": config}), "Capture ranges and separability of the layout.")


def provenance_section(inspection: Inspection, page: Page, details: Mapping[str, Any]) -> None:
    """Say what made the result."""
    page.section("Provenance")
    facts: list[list[Cell]] = [["napari-ran", __version__]]
    trace = inspection.trace
    if trace is not None:
        facts += [["weights", trace.card_name], ["network's grid", shape_text(trace.grid.shape)]]
        facts += [["voxel mm", " x ".join(f"{s:.4g}" for s in trace.grid.spacing)]]
        if (card := getattr(trace.model, "card", None)) is not None:
            facts += [["training data", card.data], ["limits of the weights", card.limits]]
    page.table(["what", "value"], [row for row in facts if row[1]])
    if trace is not None:
        page.details("Structure of the network", json.dumps(trace.model.config.to_dict(), indent=2, default=str))
    for name, value in details.items():
        page.details(name, json.dumps(value, indent=2, default=str))


def _percent(share: float) -> str:
    """Return a share in percent; what is there but tiny does not look like nothing, nor like a finding."""
    return "0" if share == 0 else "< 0.01" if share < 1e-4 else f"{100 * share:.2f}"


SECTIONS: dict[str, Callable[[Inspection, Page], None]] = {
    "summary": summary_section,
    "stages": stages_section,
    "filmstrip": filmstrip_section,
    "heads": heads_section,
    "separability": separability_section,
    "sliding": boundary_section,
    "points": probes_section,
    "theory": theory_section,
}
"""The sections in their order, by the name that the progress shows."""
