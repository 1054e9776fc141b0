"""Make the pictures and the tables of the page "Reading the levels" from the phantom and the bundled weights.

``python scripts/inspect_pictures.py --page docs/levels.md`` writes pictures to ``docs/images/levels`` and replaces the
page's tables. With a screen it also photographs the Inspect widget; without one put
``xvfb-run -a -s '-screen 0 1600x1000x24'`` in front.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from photography import shrink, wait

import napari_ran as ran
from napari_ran import figures
from napari_ran.introspect.ablation import ablation_study
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.probe import probe
from napari_ran.introspect.study import level_information, stage_separability
from napari_ran.synthetic import PhantomPair
from napari_ran.terminal import has_screen
from napari_ran.theory import level_table
from napari_ran.transform import compose_to

if TYPE_CHECKING:
    from screenshots import Photographer

CORONAL = (1, 0, 2)
"""Order of the viewer's axes: along this plane the parts slide."""

NEAR, APART = 6, 3
"""Pairs that are nearer than this many voxels and differ by at least so many: what only sliding does."""

CONTROLS = 100
"""Moved label maps that the heads are compared with."""

PARTS_SHOWN = 8
"""Lines of the ablation's table."""

BESIDE_MM = 5.0
"""Distance of the probed points from the sliding boundary."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images/levels"))
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 80, 64), help="of the phantom, for a quick trial")
    parser.add_argument("--page", type=Path, help="the page whose tables to replace: docs/levels.md")
    parser.add_argument("--no-viewer", action="store_true", help="draw the figures only")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    pair = ran.sliding_phantom(shape=tuple(arguments.shape))
    registration = ran.register(
        pair.fixed, pair.moving, keep_levels=True, affine="none",
        fixed_labels=pair.fixed_labels, moving_labels=pair.moving_labels,
        fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks,
    )  # fmt: skip
    inspection = Inspection.from_registration(registration)
    tables = draw(inspection, pair, arguments.folder)
    print(*tables.values(), sep="\n\n")
    if arguments.page is not None:
        fill_in(arguments.page, tables)
    if arguments.no_viewer or not has_screen():
        print("no pictures of the viewer")
    else:
        photograph(inspection, pair, arguments.folder)


# ---------------------------------------------------------------- figures


def draw(inspection: Inspection, pair: PhantomPair, folder: Path) -> dict[str, str]:
    """Draw every figure of the page, and return its tables by name."""
    trace = inspection.trace
    assert trace is not None
    heads = trace.model.config.heads
    save(figures.filmstrip(*figures.frames(inspection, "coronal"), heads=heads), folder, "filmstrip")
    save(figures.theory(("RAN0", "RAN3", "RAN4", "RAN4+")), folder, "theory")
    return {
        "stages": stages_table(inspection, pair),
        "theory": theory_table(inspection),
        "probe": draw_probes(inspection, pair, folder),
        "heads": draw_heads(inspection, pair, folder),
        "separability": draw_separability(inspection, folder),
        "ablation": ablation_table(inspection),
    }


def stages_table(inspection: Inspection, pair: PhantomPair) -> str:
    """Return what each stage achieves, against the exact motion."""
    rows = []
    for stage in inspection.stages:
        found = inspection.metrics(stage.index)
        whole = compose_to(inspection.source.transform(stage, "forward"), np.eye(4), pair.fixed.grid)
        exact = pair.slip(whole)
        values = (found.mean_mm, found.max_mm, found.similarity, found.dice_mean, found.tre_mm, exact.epe_mm)
        rows.append([stage.title, *(f"{value:.2f}" for value in values), str(round(exact.recovered_percent))])
    header = [
        "stage",
        "mean mm",
        "largest mm",
        "similarity",
        "Dice",
        "TRE mm",
        "error mm",
        "slip %",
    ]
    return table(header, rows)


def theory_table(inspection: Inspection) -> str:
    assert inspection.trace is not None
    rows = [
        [one.level, one.pool_size, one.reach, one.field_size, one.capture_range, one.total_difference, one.threshold]
        for one in level_table(inspection.trace.model.config)
    ]
    return table(["level k", "p_k", "abs(r_k)", "s_k", "a_k", "T_k", "t_k"], rows)


def draw_probes(inspection: Inspection, pair: PhantomPair, folder: Path) -> str:
    named = {name: probe(inspection, point) for name, point in points(pair).items()}
    found = {name: one for name, one in named.items() if one is not None}
    save(figures.probe(list(found.values()), list(found)), folder, "probe")
    rows = []
    for name, one in found.items():
        errors = [stage.incompleteness / max(float(np.linalg.norm(stage.displacement)), 1e-9) for stage in one.stages]
        exact = pair.truth.map_points(one.point[None])[0] - one.point
        output = next(stage for stage in one.stages if stage.stage.kind == "output")
        vectors = (output.displacement, one.stages[-1].displacement, exact)
        rows.append([name, *(", ".join(f"{v:.1f}" for v in vector) for vector in vectors), f"{max(errors):.0e}"])
    return table(["point", "network mm", "result mm", "exact mm", "largest relative error of a sum"], rows)


def draw_heads(inspection: Inspection, pair: PhantomPair, folder: Path) -> str:
    levels = level_information(inspection, shuffles=CONTROLS)
    save(figures.heads(levels, dict(pair.fixed_labels.names)), folder, "heads")
    rows = [
        [level, f"{one.information:.3f}", f"{one.control.mean():.3f}", f"{one.p_value:.2f}"]
        for level, one in levels.items()
    ]
    return table(["level", "information", "of moved labels, mean", "p"], rows)


def draw_separability(inspection: Inspection, folder: Path) -> str:
    last = max(stage.index for stage in inspection.stages if stage.level is not None)
    wanted = {inspection.stages[i].title: i for i in (last, last + 1, len(inspection.stages) - 1)}
    measured = {title: stage_separability(inspection, index) for title, index in wanted.items()}
    save(figures.separability(measured), folder, "separability")
    rows = []
    for title, one in measured.items():
        near = one.distances <= NEAR
        apart = one.counts[near][:, one.differences >= APART].sum() / one.counts[near].sum()
        rows.append([title, f"{one.pairs:,}", f"{100 * apart:.2g} %", f"{100 * (one.above_bound or 0):.1g} %"])
    header = [
        "stage",
        "pairs drawn",
        f"of pairs up to {NEAR} voxels apart, differ by {APART} or more",
        "above the line",
    ]
    return table(header, rows)


def ablation_table(inspection: Inspection) -> str:
    """Return the parts of the network that change its field most when they are off."""
    assert inspection.trace is not None
    assert inspection.labels is not None
    fixed, moving = inspection.labels
    for step in ablation_study(inspection.trace, ("head", "level", "output"), fixed_labels=fixed, moving_labels=moving):
        print(f"ablation: {step.step} of {step.total}", flush=True)
        found = step.table
    rows = []
    for row in sorted(found.rows, key=lambda row: -row.mean_mm)[:PARTS_SHOWN]:
        name = {"level": f"level {row.level}", "head": f"level {row.level}, head {row.head}"}.get(row.part, row.part)
        changes = (shown(v) for v in (row.similarity_change, row.dice_change))
        rows.append([name, f"{row.mean_mm:.2f}", f"{row.max_mm:.1f}", *changes])
    return table(["switched off", "mean change mm", "largest mm", "similarity", "Dice"], rows)


def shown(change: float | None) -> str:
    return "" if change is None else "0" if abs(change) < 0.0005 else f"{change:+.3f}"


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    lines += ["| " + " | ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in row) + " |" for row in rows]
    return "\n".join(lines)


def fill_in(page: Path, tables: dict[str, str]) -> None:
    """Replace the page's tables, which stand between comments that name them."""
    text = page.read_text(encoding="utf-8")
    for name, content in tables.items():
        block = re.compile(rf"(<!-- made: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text, count = block.subn(lambda found, content=content: f"{found[1]}\n{content}\n{found[2]}", text)
        if count != 1:
            raise SystemExit(f"{page}: the place of '{name}' is there {count} times")
    page.write_text(text, encoding="utf-8")


def points(pair: PhantomPair) -> dict[str, np.ndarray]:
    """Return two points on either side of the boundary where it slides most, and one inside a part."""
    face, grid = pair.interface, pair.fixed.grid
    middle = np.abs(face.points - grid.centre) < 0.2 * grid.spacing * grid.shape
    sideways = (np.abs(face.normals[:, 0]) > 0.9) & middle[:, 1] & middle[:, 2]  # seen in a coronal plane
    best = int((np.linalg.norm(face.jump, axis=1) * sideways).argmax())
    step = BESIDE_MM * face.normals[best]
    return {
        "before the boundary": face.points[best] - step,
        "beyond the boundary": face.points[best] + step,
        "inside a part": pair.fixed_landmarks.points[0],
    }


def save(figure: Figure, folder: Path, name: str) -> None:
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110, facecolor="white")
    shrink(path)


# ---------------------------------------------------------------- the viewer


def photograph(inspection: Inspection, pair: PhantomPair, folder: Path) -> None:
    """Photograph the pages of the Inspect widget."""
    from screenshots import Photographer

    from napari_ran.widgets.inspect import InspectWidget

    camera = Photographer(folder)
    camera.viewer.window.remove_dock_widget(camera.widget)
    inspect = InspectWidget(camera.viewer)
    camera.viewer.window.add_dock_widget(inspect, name="Inspect (RAN)", area="right")
    inspect.show_inspection(inspection)
    stages = inspection.stages
    last, fine = len(stages) - 1, max(stage.index for stage in stages if stage.level is not None)
    for name, quantity, style, stage in (
        ("view_field", "field", "arrows", last),
        ("view_increment", "increment", "arrows", fine),
        ("view_masks", "masks", "relative", fine),
        ("view_confidence", "confidence", "map", fine),
        ("view_difference", "difference", "map", fine),
    ):
        show(camera, inspect, quantity, style, stage)
        if camera.viewer.dims.order != CORONAL:
            turn(camera, inspect, next(iter(points(pair).values())))
        shoot(camera, name)
    photograph_pages(camera, inspect, pair, fine)
    camera.viewer.window.remove_dock_widget(inspect)
    camera.viewer.close()


def turn(camera: Photographer, inspect: Any, point: np.ndarray) -> None:
    """Show the coronal plane through a world point, head up."""
    camera.viewer.dims.order = CORONAL
    camera.viewer.dims.set_point(1, inspect.layers.to_viewer(point[None])[0][1])
    inspect.layers.camera.orientation2d = ("up", "right")
    wait(0.3)
    camera.viewer.reset_view()


def show(camera: Photographer, inspect: Any, quantity: str, style: str, stage: int) -> None:
    inspect.levels.choose(quantity=quantity, stage=stage)
    inspect.levels.choose(style=style)
    wanted = inspect.session.allowed(inspect.levels.choice)
    wait(60, lambda: inspect.layers.picture is not None and inspect.layers.picture.choice == wanted)
    wait(10, lambda: not inspect.levels.missing_thumbnails())


def photograph_pages(camera: Photographer, inspect: Any, pair: PhantomPair, fine: int) -> None:
    """Photograph the pages behind the first one."""
    from napari_ran.models.ablation import Ablation

    show(camera, inspect, "warped", "map", len(inspect.session.inspection.stages) - 1)
    inspect.tabs.setCurrentWidget(page_of(inspect, inspect.probe))
    for point in points(pair).values():
        inspect.probe.probe_at(point)
        inspect.probe.pin()
    shoot(camera, "view_probe")
    inspect.tabs.setCurrentWidget(page_of(inspect, inspect.ablation))
    level = inspect.session.inspection.stages[fine].level
    inspect.ablation.switch(Ablation(levels=frozenset({level})))
    wait(120, lambda: inspect.ablation.latest is not None)
    wait(3.0)
    shoot(camera, "view_ablation")
    inspect.ablation.reset()
    wait(60, lambda: inspect.session is inspect.whole)
    inspect.tabs.setCurrentWidget(page_of(inspect, inspect.separability))
    wait(60, lambda: inspect.separability.found is not None)
    inspect.separability.boundary.measure_labels()
    wait(30, lambda: inspect.separability.boundary.motion is not None)
    inspect.separability.light_up(((3, 8), (3, 9)))
    shoot(camera, "view_separability")
    inspect.tabs.setCurrentWidget(page_of(inspect, inspect.theory))
    wait(10.0, lambda: not inspect.theory.worker.task)
    shoot(camera, "view_design")


def page_of(inspect: Any, part: Any) -> Any:
    """Return the tab that holds a part."""
    pages = [inspect.tabs.widget(i) for i in range(inspect.tabs.count())]
    return next(page for page in pages if page is part or page.isAncestorOf(part))


def shoot(camera: Photographer, name: str) -> None:
    wait(1.5)
    camera.shoot(name)
    shrink(camera.folder / f"{name}.png")


if __name__ == "__main__":
    main()
