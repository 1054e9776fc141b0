"""What the Ablation page does away from the viewer, and how its findings read."""

from __future__ import annotations

import html
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from napari_ran.config import RANConfig
from napari_ran.introspect.ablation import Ablated, AblationStep, Ablator, ablation_study, study_parts
from napari_ran.introspect.ablation_table import AblationRow, AblationTable, Score
from napari_ran.introspect.inspection import Inspection
from napari_ran.models import RAN, Ablation
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.inspection.tables import rich_table


def given_annotations(inspection: Inspection) -> dict[str, Any]:
    """Return the labels and landmarks of an inspection as the ablation takes them."""
    found: dict[str, Any] = {}
    for what in ("labels", "landmarks"):
        pair = getattr(inspection, what)
        if pair is not None:
            found |= {f"fixed_{what}": pair[0], f"moving_{what}": pair[1]}
    return found


def ablator_of(inspection: Inspection) -> Ablator:
    """Return what switches parts of an inspection's network off.

    Raises
    ------
    InputError
        Its labels or landmarks cannot be used.
    """
    assert inspection.trace is not None  # or there would be nothing to choose from
    return Ablator(inspection.trace, **given_annotations(inspection))


def ablation_work(ablator: Callable[[], Ablator], ablation: Ablation, both: bool) -> Work:
    """Return the work of running a network without some parts, in one direction or both; it returns `Ablated`."""

    def work(task: Task) -> Generator[Any, None, Ablated]:
        made = ablator()
        _ = made.baseline  # measured here, where nobody waits for it
        return (yield from made.run(ablation, keep_levels=True, both=both))

    return work


def study_work(inspection: Inspection, which: Any) -> Work:
    """Return the work of a table; it yields `AblationStep` and returns the table."""

    def work(task: Task) -> Generator[AblationStep, None, AblationTable]:
        assert inspection.trace is not None  # or there would be nothing to choose from
        return (yield from ablation_study(inspection.trace, which, **given_annotations(inspection)))

    return work


def without(inspection: Inspection, found: Ablated) -> Inspection:
    """Return an inspection of what remains of a network."""
    trace = inspection.trace
    if trace is None:
        raise ValueError("only a network's trace can be ablated")
    remaining = replace(trace, output=found.output, before=None, before_model=None, refined=None, refined_inverse=None)
    name = f"{inspection.name}, {found.ablation.describe()}"
    return Inspection.from_trace(remaining, name, labels=inspection.labels, landmarks=inspection.landmarks)


def outcome_text(found: Ablated, before: Score) -> str:
    """Return what an ablation changed, as a small table in rich text; `before` is the whole network's score."""
    after = found.score
    rows = [("", "<i>whole</i>", "<i>without</i>", "<i>change</i>")]
    rows.append(("Field changes", "", f"{found.mean_mm:.2f} mm", f"at most {found.max_mm:.1f}"))
    for name, old, new, digits in (
        ("Similarity", before.similarity, after.similarity, 3),
        ("Dice", before.dice_mean, after.dice_mean, 3),
        ("TRE (mm)", before.tre_mm, after.tre_mm, 2),
    ):
        if old is not None and new is not None:
            rows.append((name, f"{old:.{digits}f}", f"{new:.{digits}f}", f"{new - old:+.{digits}f}"))
    return f"<b>{html.escape(found.ablation.describe())}</b>{rich_table(rows)}"


def row_title(row: AblationRow) -> str:
    """Return the name of a line of the table."""
    if row.part == "head":
        return f"{row.level}: head {row.head}"
    return row.part if row.level is None else f"{row.level}: {row.part}"


def row_ablation(row: AblationRow, config: RANConfig) -> Ablation:
    """Return the ablation of a line of the table."""
    level, head = (-1 if number is None else number for number in (row.level, row.head))
    return study_parts(config, (row.part,))[row.part, level, head]


def aligner_config(inspection: Inspection) -> RANConfig | None:
    """Return the structure of the Residual Aligner Network that was inspected; None where it was none."""
    model = None if inspection.trace is None else inspection.trace.model
    return model.config if isinstance(model, RAN) else None
