"""Draw the network, one Residual Aligner, the theory, and the pictures of the tutorials.

``python scripts/docs_pictures.py`` writes everything to ``docs/images``; ``--only network theory tutorials summary`` a
part. The diagrams are drawn from the config that builds the network, the rest by the package's own figures from the
phantom, so that a change of the code shows here. A test compares the diagrams with the config.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from docs_diagrams import PALETTES, Diagram, save
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import napari_ran as ran
from napari_ran import figures
from napari_ran.figures.colours import INK, head_colour
from napari_ran.introspect.study import stage_separability
from napari_ran.theory import level_table

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
SHOWN = "RAN3"


def network(config: ran.RANConfig, name: str, palette: str) -> Diagram:
    """Draw the encoder going down in resolution and the levels coming up, each at the height of its voxel size."""
    stages = len(config.encoder_channels)
    rise, first_level, step = 0.95, 4.5, 1.19
    width, height = first_level + step * config.levels + 0.3, rise * (stages + 1.05)
    sheet = Diagram(PALETTES[palette], width, height)

    def y(voxel: int) -> float:
        return float(height - rise * (0.55 + np.log2(voxel)))

    def stage_at(stage: int) -> tuple[float, float]:
        return 0.56 + 0.72 * stage, y(2**stage)

    def level_at(level: int) -> tuple[float, float]:
        return first_level + step * level, y(config.pools[level])

    for voxel in (2**power for power in range(stages + 1)):
        sheet.note(width - 0.05, y(voxel), f"voxel\n{voxel}", align="right", size=7)
    for stage in range(1, stages + 1):
        (x0, y0), (x1, y1) = stage_at(stage - 1), stage_at(stage)
        sheet.line((x0 + 0.1, y0 - 0.27), (x1 - 0.25, y1 + 0.27))
    for level, entering in enumerate(config.skips):
        for stage in entering:
            (x0, y0), (x1, y1) = stage_at(stage), level_at(level)
            over = y0 >= y(config.pools[0])  # above the first levels: the line must not run through them
            end = (x1 - 0.25, y1 - 0.37) if y0 < y1 else (x1 - 0.25, y1 + 0.37)
            sheet.line((x0 + 0.46, y0), end, kind="green", bend=-0.12 if over and level else 0)
    for level in range(1, config.levels):
        (x0, y0), (x1, y1) = level_at(level - 1), level_at(level)
        if y0 == y1:
            sheet.line((x0 + 0.53, y0), (x1 - 0.53, y1), kind="gold")
        else:
            sheet.line((x0 + 0.2, y0 + 0.37), (x1 - 0.53, y1), kind="gold", bend=-0.25)
    sheet.box(*stage_at(0), "images", "both alike", width=0.92, height=0.52, kind="grey")
    for stage, channels in enumerate(config.encoder_channels, start=1):
        sheet.box(*stage_at(stage), f"stage {stage}", f"{channels} channels", width=0.92, height=0.52)
    for row, channels in zip(level_table(config), config.decoder_channels, strict=True):
        text = f"{channels} channels\npool {row.pool_size}, dilation {row.dilation}\n$a_k$ = {row.capture_range:g}"
        sheet.box(*level_at(row.level), f"level {row.level}", text, width=1.06, height=0.74, kind="gold")
    x, top = level_at(config.levels - 1)
    sheet.box(x, top - 1.2, "displacement", f"{config.ndim} components", width=1.06, height=0.52, kind="grey")
    sheet.line((x, top - 0.37), (x, top - 0.94))
    channels_text = "as they are" if config.skip_channels is None else f"as {config.skip_channels} channels each"
    legend = (
        f"{name}, {config.heads} heads at every level",
        f"green: stages enter levels, {channels_text}",
        "gold: features, field and logits go on to the next level",
    )
    for line, words in enumerate(legend):
        sheet.note(first_level + 0.1, y(2**stages) + 0.3 - 0.2 * line, words, align="left")
    return sheet


def aligner(config: ran.RANConfig, palette: str) -> Diagram:
    """Draw what happens at one level, with the widths of the config."""
    sheet = Diagram(PALETTES[palette], 11.0, 4.95)
    d, m, i, e = config.ndim, config.heads, config.regressor_width, config.head_width
    boxes: dict[str, tuple[float, float, str, str, str]] = {
        "own": (0.8, 3.9, "own features", "$X$, C channels", "grey"),
        "other": (0.8, 2.7, "other features", "$O$, C channels", "grey"),
        "carried": (0.8, 0.75, "carried", "field $\\varphi$, logits $\\theta$", "grey"),
        "resampler": (2.6, 2.7, "resampler", "convolution 1, then\nread at $x+\\varphi(x)$", "blue"),
        "regressor": (4.45, 3.9, "regressor", f"3 convolutions, {i} ch.,\ntwo of them dilated", "blue"),
        "heads": (6.45, 3.9, "heads", f"{i} → {e} → {m} × {d}\nshared by all levels", "gold"),
        "masks": (6.45, 2.7, "logits, masks", f"{m} logits, softmax\nover the heads", "gold"),
        "confidence": (6.45, 1.6, "confidences", "of the heads and of\nthe carried field", "gold"),
        "accumulator": (8.3, 2.7, "accumulator", f"{2 * (m + 1)} → {i} → 1, the same\nfor each component", "rose"),
        "field": (10.15, 2.7, "field", f"$\\varphi_k$, {d} components", "grey"),
        "feedback": (8.3, 4.4, "feedback", "other features, read\nthrough $\\varphi_k$, refine $X$", "green"),
    }
    arrows = [
        ("own", "regressor"), ("other", "resampler"), ("resampler", "regressor"), ("regressor", "heads"),
        ("regressor", "masks"), ("masks", "confidence"), ("heads", "accumulator"), ("masks", "accumulator"),
        ("confidence", "accumulator"), ("accumulator", "field"), ("accumulator", "feedback"),
    ]  # fmt: skip
    if not config.confidence:
        boxes.pop("confidence")
    if not config.feedback:
        boxes.pop("feedback")

    def side(name: str, towards: str) -> tuple[float, float]:
        (x, y, *_), (tx, ty, *_) = boxes[name], boxes[towards]
        if abs(tx - x) < 0.3:
            return x, y + np.sign(ty - y) * 0.38
        return x + np.sign(tx - x) * 0.74, y

    for start, end in arrows:
        if start in boxes and end in boxes:
            sheet.line(side(start, end), side(end, start))
    x, y, *_ = boxes["carried"]
    sheet.line((x, y + 0.38), (boxes["resampler"][0] - 0.3, boxes["resampler"][1] - 0.38), dashed=True)
    if "confidence" in boxes:
        sheet.line((x + 0.74, y), (boxes["confidence"][0] - 0.3, boxes["confidence"][1] - 0.38), dashed=True)
    end = boxes["accumulator"][0] + 0.45, boxes["accumulator"][1] - 0.38
    sheet.line((x + 0.74, y - 0.12), end, dashed=True, bend=0.36)
    for bx, by, title, text, kind in boxes.values():
        sheet.box(bx, by, title, text, width=1.48, height=0.76 if "\n" in text else 0.62, kind=kind)
    sheet.note(0.2, 0.14, "dashed: not at level 0, where there is nothing to start from", align="left")
    return sheet


def described(config: ran.RANConfig) -> str:
    """Return what a diagram is drawn from, in words: kept inside it, so that a test can tell when it is out of date."""
    return str(config.to_dict())


def draw_network() -> None:
    config = ran.RANConfig.preset(SHOWN)
    for palette in PALETTES:
        save(network(config, SHOWN, palette), IMAGES / "network" / f"network-{palette}.svg", described(config))
        save(aligner(config, palette), IMAGES / "network" / f"aligner-{palette}.svg", described(config))


def draw_theory() -> None:
    folder = IMAGES / "theory"
    folder.mkdir(parents=True, exist_ok=True)
    written(figures.theory(("RAN0", "RAN3", "RAN4", "RAN4-appendix")), folder / "layouts.png")
    pair = ran.phantom_2d(seed=0, shape=(160, 128))
    written(ranges(pair.fixed, ran.RANConfig.preset(SHOWN, 2)), folder / "ranges.png")
    given = {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}
    found = ran.register(pair.fixed, pair.moving, affine="none", device="cpu", keep_levels=True, **given)
    inspection = ran.Inspection.from_registration(found)
    last = len(inspection.stages) - 1
    names = {inspection.stages[stage].title: stage_separability(inspection, stage) for stage in (last - 1, last)}
    written(figures.separability(names), folder / "measured.png")


def ranges(image: ran.Image, config: ran.RANConfig) -> Figure:
    """Draw the capture range of every level around a point of the phantom."""
    figure = Figure(figsize=(8.2, 4.6), dpi=130, facecolor="white", layout="constrained")
    axes, curve = figure.subplots(1, 2, width_ratios=(1, 1.25))
    centre = np.array(image.array.shape) // 2 + (-14, 12)
    axes.imshow(image.array.T, cmap="gray", origin="lower")
    rows = level_table(config)
    for row in rows:
        a = row.capture_range
        corner, colour = centre - a, head_colour(row.level)
        axes.add_patch(Rectangle(corner, 2 * a, 2 * a, fill=False, ec=colour, lw=1.8))
    axes.plot(*centre, "+", color="white", ms=9)
    axes.set_axis_off()
    axes.set_title(f"Capture ranges of {SHOWN} around a point", loc="left", fontsize=10, color=INK)
    for row in rows:
        layout = f"level {row.level}: pool {row.pool_size}, dilation {row.dilation}"
        label = f"{layout}, $a_k$ = {row.capture_range:g} voxels"
        curve.barh(row.level, 2 * row.capture_range, color=head_colour(row.level), height=0.55)
        curve.text(1, row.level - 0.42, label, fontsize=8, color=INK, va="center")
    curve.set(yticks=[], ylim=(len(rows) - 0.4, -0.75), xlabel="voxels of the image")
    curve.set_title("Side of each box", loc="left", fontsize=10, color=INK)
    for name in ("top", "right", "left"):
        curve.spines[name].set_visible(False)
    return figure


def draw_tutorials() -> None:
    """Follow the tutorials' first steps, and keep what they show."""
    folder = IMAGES / "tutorials"
    folder.mkdir(parents=True, exist_ok=True)
    pair = ran.sliding_phantom(seed=4, shape=(56, 48, 40))
    given = {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}
    found = ran.register(pair.fixed, pair.moving, affine="none", device="cpu", keep_levels=True, **given)
    with tempfile.TemporaryDirectory() as scratch:
        (folder / "two-cts.png").write_bytes((found.save(Path(scratch) / "result") / "summary.png").read_bytes())
    strip = figures.frames(ran.Inspection.from_registration(found), "coronal")
    heads = ran.RANConfig().heads
    written(figures.filmstrip(*strip, heads=heads), folder / "filmstrip.png")


def draw_summary() -> None:
    """Draw the registration of the demo on one page."""
    pair = ran.sliding_phantom(seed=0)
    names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    found = ran.register(pair.fixed, pair.moving, device="cpu", **{name: getattr(pair, name) for name in names})
    with tempfile.TemporaryDirectory() as scratch:
        (IMAGES / "summary.png").write_bytes((found.save(Path(scratch) / "result") / "summary.png").read_bytes())
    print(IMAGES / "summary.png")


def written(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    print(path)


PARTS = {"network": draw_network, "theory": draw_theory, "tutorials": draw_tutorials, "summary": draw_summary}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), help="draw these parts")
    for name in parser.parse_args().only:
        PARTS[name]()


if __name__ == "__main__":
    main()
