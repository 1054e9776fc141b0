"""Write the pages of ``docs/reference`` that come from the code: options, settings, files, models, the public names.

``python scripts/docs_reference.py`` writes what changed; ``--check`` writes nothing and ends with 1 where a page is not
what the code says. A test does the same.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import napari_ran as ran
from napari_ran import cli
from napari_ran.cohort import ClusterConfig
from napari_ran.config import BenchmarkConfig, PairConfig, PeerEntry, SystemEntry, TrainConfig
from napari_ran.config.generated import StageOneConfig
from napari_ran.io import images, surfaces
from napari_ran.io.checkpoints import BUNDLED, ModelCard, load_network
from napari_ran.io.fields import FORMATS

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- made by scripts/docs_reference.py: change the code, or that script, and run it -->\n"


@cache
def pages() -> dict[Path, str]:
    """Return every page by its path."""
    made = {"options": options, "settings": settings, "files": files, "models": models}
    return {REFERENCE / f"{name}.md": "\n".join([MADE, *page(), ""]) for name, page in made.items()}


def options() -> Iterator[str]:
    """Yield the lines of the page of all options, from the parser itself."""
    yield from (
        "# All options",
        "",
        "What `napari-ran COMMAND --help` says, for every command. [Command line](../cli.md) explains their use.",
        "",
    )
    commands = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help for choice in commands._choices_actions}
    shared: list[argparse.Action] = []
    for name, parser in commands.choices.items():
        common = [a for group in parser._action_groups if group.title == "settings" for a in group._group_actions]
        shared = shared or common
        own = [a for a in parser._actions if a not in common and not isinstance(a, argparse._HelpAction)]
        yield from (f"## napari-ran {name}", "", f"{sentence(summaries[name] or '')}", "")
        if common:
            yield from ("Takes the [settings of a registration](#settings-of-a-registration) as well.", "")
        yield from arguments([*(a for a in own if not a.option_strings), *(a for a in own if a.option_strings)])
    yield from ("## Settings of a registration", "", "Each replaces the value of the settings file.", "")
    yield from arguments(shared)


def arguments(actions: list[argparse.Action]) -> Iterator[str]:
    """Yield the table of some options and arguments."""
    yield from ("| argument | values | what |", "|---|---|---|", *map(option, actions), "")


def option(action: argparse.Action) -> str:
    """Return the row of an option or argument."""
    name = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{action.metavar}`"
    if action.nargs == "+":
        name += " …"
    values = ", ".join(f"`{choice}`" for choice in action.choices or ())
    if not values and action.option_strings and action.nargs != 0:
        values = f"{action.metavar or action.dest.upper()}"
    if action.required and action.option_strings:
        name += " (needed)"
    text = (action.help or "").replace("%%", "%")
    if action.default not in (None, False, argparse.SUPPRESS, []) and action.nargs != 0:
        text += f" (default: `{action.default}`)"
    return row(name, values, text)


def settings() -> Iterator[str]:
    """Yield the lines of the page of all settings, from the configs."""
    yield from (
        "# All settings",
        "",
        "Every file of settings, key by key, with its defaults. The same names are the attributes of the configs in",
        "Python and, for a registration, options of the [command line](options.md). Unknown keys are refused by name.",
        "",
    )
    chapters: dict[str, tuple[str, list[type[BaseModel]]]] = {
        "Registration": (
            "`settings.yaml` of a result, `--config` of `napari-ran register`, *Save settings…* of the viewer.",
            [ran.RegistrationConfig, ran.InstanceConfig],
        ),
        "Network": (
            "`model.structure` of a training. [The network](../explanation/network.md) draws what they build.",
            [ran.RANConfig],
        ),
        "Training": ("The YAML of `napari-ran train`; see [Training](../training.md).", [TrainConfig, *sections()]),
        "Generated pairs": ("`data.generated` of a training.", [PairConfig, StageOneConfig]),
        "Benchmark": (
            "The YAML of `napari-ran benchmark`; see [Benchmarks](../benchmark.md).",
            [BenchmarkConfig, SystemEntry, PeerEntry],
        ),
        "Cluster": ("The YAML of `napari-ran batch --scheduler`; see [Cohorts](../cohorts.md).", [ClusterConfig]),
    }
    for title, (text, configs) in chapters.items():
        yield from (f"## {title}", "", text, "")
        for config in configs:
            yield from table(config)


def sections() -> list[type[BaseModel]]:
    """Return the configs of the parts of a training, in their order."""
    found = (field.get_default(call_default_factory=True) for field in TrainConfig.model_fields.values())
    return [type(value) for value in found if isinstance(value, BaseModel)]


def table(config: type[BaseModel]) -> Iterator[str]:
    """Yield the heading, the first sentence and the table of one config."""
    about = first_line(config)
    place = next((f"`{key}`" for key, field in TrainConfig.model_fields.items() if field.annotation is config), None)
    yield from (f"### {config.__name__}", "", f"{about} In the file: {place}." if place else about, "")
    yield from ("| key | type | default | what |", "|---|---|---|---|")
    described = attributes(config)
    for name, field in config.model_fields.items():
        nested = field.get_default(call_default_factory=True)
        if name not in described and isinstance(nested, BaseModel):
            described[name] = ("section", first_line(type(nested)))
        kind, text = described[name]  # a key that no docstring describes is a fault of the config
        yield row(f"`{name}`", kind.replace("|", "or"), default_of(field), text)
    yield ""


def first_line(config: type[BaseModel]) -> str:
    """Return the first line of a config's docstring."""
    return (config.__doc__ or "").strip().splitlines()[0]


def default_of(field: Any) -> str:
    """Return a default as it would stand in a file."""
    if field.default is PydanticUndefined and field.default_factory is None:
        return "(needed)"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"[{type(value).__name__}](#{type(value).__name__.lower()})"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{plain(value)}`" if value != "" else "`''`"


def plain(value: Any) -> str:
    """Return a value without Python's brackets of tuples."""
    return f"[{', '.join(plain(part) for part in value)}]" if isinstance(value, tuple | list) else str(value)


def attributes(config: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """Return type and text of every attribute that the docstrings of a config and its bases list."""
    found: dict[str, tuple[str, str]] = {}
    for owner in reversed(config.__mro__):
        for names, kind, body in re.findall(
            r"^    (\w+(?:, \w+)*) : (.*)\n((?:        .*\n)+)", (owner.__doc__ or "") + "\n", re.MULTILINE
        ):
            text = " ".join(body.split()).replace("``", "`")
            found |= {name: (kind.replace("``", "`"), text) for name in names.split(", ")}
    return found


def files() -> Iterator[str]:
    """Yield the lines of the page of file formats, from the readers and writers."""
    yield from (
        "# File formats",
        "",
        "World coordinates are millimetres, right-anterior-superior (RAS+); [Transform conventions](../transforms.md)",
        "says what that means for fields. What other tools count differently is converted at the border.",
        "",
        "## Images and label maps",
        "",
        "| ending | read | written |",
        "|---|---|---|",
    )
    for suffix in (*images.READABLE_SUFFIXES, ".ome.zarr"):
        written = suffix in images.WRITABLE_SUFFIXES or suffix == ".ome.zarr"
        yield row(f"`{suffix}`", "yes", "yes" if written else "")
    yield row("a folder", "the longest DICOM series in it", "")
    yield from ("", "## Transforms", "")
    yield from ("| format | who opens it | endings | usual name | axes |", "|---|---|---|---|---|")
    for name, kind in FORMATS.items():
        endings = ", ".join(f"`{suffix}`" for suffix in kind.suffixes)
        axes = " or ".join(map(str, kind.dimensions))
        yield row(f"`{name}`", kind.title, endings, f"`{kind.suggestion}`", axes)
    yield from (
        "",
        "All of them are read as well, and so is whatever else SimpleITK reads: affine, B-spline and composite",
        "transforms (`.tfm`, `.txt`, `.h5`, ANTs' `.mat`).",
        "",
        "## Points",
        "",
        "Written as CSV. Read:",
        "",
        "| ending | coordinates |",
        "|---|---|",
        "| `.csv` with a header | columns `x, y, z` or `r, a, s` (mm, RAS), `l, p, s` (mm, LPS), `i, j, k` (voxels) |",
        "| `.fcsv`, `.mrk.json` | 3D Slicer's; the system that the file states |",
        "| `.txt` | elastix: `point` (mm, LPS) or `index` (voxels); numbers alone: mm, RAS |",
        "| `.npy` | mm, RAS |",
        "",
        "## Surfaces",
        "",
        ", ".join(f"`{suffix}`" for suffix in surfaces.SUFFIXES) + ", read and written. Taken as LPS unless the file",
        "notes `SPACE=RAS`; `.npz` holds `vertices` and `faces` in RAS.",
        "",
        "## Weights",
        "",
        "`.safetensors`: the tensors of one network and, in its header, its structure and its [card](models.md).",
        "Pickled checkpoints are refused, since reading one can run any code.",
        "",
        "## Settings",
        "",
        "YAML; [All settings](settings.md) lists the keys.",
    )


def models() -> Iterator[str]:
    """Yield the lines of the page of model cards, from the headers of the bundled files."""
    yield from (
        "# Model cards",
        "",
        "The weights that come with the package, as their files describe them; `napari-ran models` prints the same.",
        "[Training](../training.md#the-model-general-3d) says how they were made and what else they were measured on.",
        "",
    )
    for path in sorted(BUNDLED.glob("*.safetensors")):
        network = load_network(path)
        yield from card(path, network.card, sum(p.numel() for p in network.parameters()))


def card(path: Path, about: ModelCard, parameters: int) -> Iterator[str]:
    """Yield the lines of one card."""
    rows = {
        "structure": f"{about.preset}, {about.ndim}-D, {parameters:,} parameters",
        "file": f"`{path.name}`, {path.stat().st_size / 1e6:.1f} MB",
        "trained on": about.data,
        "objective": about.objective,
        "duration": f"{about.steps:,} steps, {about.minutes:.0f} minutes, seed {about.seed}",
        "command": f"`{about.command}`",
        "looks at a pair": about.looks,
        "limits": about.limits,
        "licence": about.licence,
        "written by": f"napari-ran {about.version}",
    }
    yield from (f"## {path.stem}", "", "| | |", "|---|---|")
    yield from (row(f"**{name}**", text) for name, text in rows.items() if text.strip("`"))
    if about.figures:
        yield from ("", "| measured on pairs that it never saw | |", "|---|--:|")
        yield from (row(name, f"{value:.4g}") for name, value in about.figures.items())
    yield ""


def sentence(text: str) -> str:
    """Return a phrase as a sentence."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def row(*cells: str) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages are out of date")
    check = parser.parse_args().check
    late = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in late:
        print(path.name, "is out of date" if check else "written")
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(late))


if __name__ == "__main__":
    sys.exit(main())
