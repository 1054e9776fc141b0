"""The commands of ``napari-ran`` and what each takes.

Every setting of a registration is an option whose name, choices and help come from its config, so that nothing is
listed twice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from napari_ran._version import __version__
from napari_ran.io.fields import FORMATS
from napari_ran.options import add_settings


@dataclass(frozen=True)
class Command:
    """A command: what it is for, what adds its options, and which shared ones it takes besides."""

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    settings: bool = False
    quiet: bool = True


def command_line(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """Return the parser of the command line; the arguments that it finds have the command's function as ``run``.

    Parameters
    ----------
    run : mapping
        What carries out each command of `COMMANDS`, by its name, and returns the exit code.
    """
    parser = argparse.ArgumentParser(prog="napari-ran", description="Register images with Residual Aligner Networks.")
    parser.add_argument("--version", action="version", version=f"napari-ran {__version__}")
    common, quiet, settings = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    common.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    quiet.add_argument("--quiet", action="store_true", help="print errors only")
    add_settings(settings)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        parents = [common, *([quiet] if command.quiet else []), *([settings] if command.settings else [])]
        one = commands.add_parser(name, parents=parents, help=command.help)
        command.add(one)
        one.set_defaults(run=run[name])
    return parser


def _register(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fixed", metavar="FIXED", help="image that stays: NIfTI, MHA, NRRD, or a DICOM folder")
    parser.add_argument("moving", metavar="MOVING", help="image that is brought onto it, of any other grid")
    parser.add_argument("-o", "--output", metavar="FOLDER", help="folder for the results; made if missing")
    parser.add_argument(
        "--plan", action="store_true", help="print what each stage will need of memory and what is chosen; run nothing"
    )
    for side, use in {
        "fixed": "to score the result with",
        "moving": "carried along, and scored with the fixed ones",
    }.items():
        parser.add_argument(f"--{side}-labels", metavar="FILE", help=f"label map of the {side} image: {use}")
        parser.add_argument(
            f"--{side}-landmarks", metavar="FILE", help=f"points of the {side} image in mm, one per row: {use}"
        )
        parser.add_argument(f"--{side}-mask", metavar="FILE", help=f"where the {side} image counts: not 0")
    parser.add_argument(
        "--rigid-regions", metavar="FILE", help="labels of what must not deform in the fixed image, such as bones"
    )
    parser.add_argument(
        "--initial", metavar="FILE", help="transform to start from: the folder of a result, or any tool's file"
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FOLDER", default="demo-result", help="folder for the results")
    parser.add_argument("--no-viewer", action="store_true", help="do not open napari at the end")


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "result", metavar="RESULT", help="folder of a registration with --keep-levels, or any tool's field file"
    )
    _add_output(parser, "folder for the page; made if missing")
    parser.add_argument("--ablation", action="store_true", help="also switch off every head, which takes minutes")
    parser.add_argument("--formats", metavar="LIST", default="npz,nifti", help="files of the arrays: npz,nifti or none")


def _apply(parser: argparse.ArgumentParser) -> None:
    _add_transform(parser)
    parser.add_argument("files", metavar="FILE", nargs="+", help="what lies in the moving image's space")
    _add_output(parser, "folder for the results")
    parser.add_argument("--reference", metavar="FILE", help="image on whose grid voxels come out; else the field's own")
    parser.add_argument(
        "--kind", choices=("auto", "image", "labels", "points", "surface"), default="auto",
        help="what the files are; by default their endings and names say it",
    )  # fmt: skip
    parser.add_argument(
        "--labels", choices=("nearest", "gaussian"), default="nearest", help="how labels are read: gaussian is smooth"
    )
    parser.add_argument(
        "--to", choices=("auto", "nifti", "zarr"), default="auto",
        help="what images and label maps become: zarr is OME-Zarr, made chunk by chunk; what they are, by default",
    )  # fmt: skip


def _export(parser: argparse.ArgumentParser) -> None:
    _add_transform(parser)
    parser.add_argument("output", metavar="OUTPUT", help="file to write, such as field.h5 or 1Warp.nii.gz")
    parser.add_argument("--format", choices=tuple(FORMATS), help="format, where the name does not say it")


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "config", metavar="CONFIG", nargs="+", help="settings of the training, as the viewer exports them; of its parts"
    )
    _add_output(parser, "folder for weights and log; for several parts one each")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in the folder, if there is one"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments",
        help="replace a setting of every file, such as budget.minutes=30",
    )  # fmt: skip


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _add_cases(parser)
    parser.add_argument("--fields", metavar="FOLDER", help="score the fields in this folder, one for each pair")
    parser.add_argument(
        "--paper", action="store_true", help="measure also as the paper's released code does, for its tables"
    )
    _add_output(parser, "folder for the tables")


def _batch(parser: argparse.ArgumentParser) -> None:
    _add_cases(parser)
    _add_output(parser, "folder for the results and the summary")
    parser.add_argument("--workers", metavar="N", type=_count, help="how many processes, or jobs of a queue")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="a Dask scheduler that runs already, or a YAML file that names a cluster's queue; else this machine",
    )  # fmt: skip
    parser.add_argument(
        "--retries", metavar="N", type=_count, default=1, help="how often a pair that a fault ended is tried again"
    )


def _benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="YAML file: what is compared, on what, and how")
    _add_output(parser, "folder for tables, figures, trainings and scores")
    parser.add_argument(
        "--only", metavar="NAMES", default="", help="do only these systems, tools or rows now, separated by commas"
    )


def _add_output(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("-o", "--output", metavar="FOLDER", required=True, help=help)


def _add_cases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cases", metavar="CASES", help="CSV file with a row for each pair, or a JSON file of Learn2Reg")


def _add_transform(parser: argparse.ArgumentParser) -> None:
    """Add what says which transform is meant, and in which direction."""
    parser.add_argument("transform", metavar="TRANSFORM", help="folder of a registration, or any tool's transform")
    parser.add_argument("--fixed", metavar="FILE", help="the fixed image: a transform without a grid needs it")
    parser.add_argument("--moving", metavar="FILE", help="the moving image: FSL's warps and inverses need its grid")
    parser.add_argument("--from-format", choices=tuple(FORMATS), help="what TRANSFORM is, where it does not say it")
    parser.add_argument("--inverse", action="store_true", help="take the transform the other way round")


def _count(text: str) -> int:
    """Read a number of things."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")
    return number


COMMANDS: Mapping[str, Command] = {
    "register": Command("register a moving image to a fixed image", _register, settings=True),
    "demo": Command("register a phantom with sliding organs and score it", _demo, settings=True),
    "inspect": Command("write a page that shows what each level of a result did, and its arrays", _inspect),
    "apply": Command("bring images, labels, points and surfaces of the moving image to the fixed one", _apply),
    "export": Command("write a transform for another tool", _export),
    "train": Command("train a network as a YAML file says", _train),
    "evaluate": Command("score a list of pairs by their fields, or register and score them", _evaluate, settings=True),
    "batch": Command("register the pairs of a list side by side, each into its own folder", _batch, settings=True),
    "benchmark": Command("train systems alike, and compare them and other tools on the same pairs", _benchmark),
    "models": Command("list the bundled weights", lambda parser: None, quiet=False),
}
"""The commands by name, in the order of the help."""
