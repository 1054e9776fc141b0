"""The command line: ``napari-ran register | demo | inspect | apply | export | train | evaluate | batch | …``.

Every setting of a registration is an option whose name, choices and help come from its config, so that nothing is
listed twice. Results and tables go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

import napari_ran as ran
from napari_ran import terminal
from napari_ran.applying import apply_files
from napari_ran.errors import InputError, OutputError, RanError
from napari_ran.exchange import Transform
from napari_ran.io.fields import FORMATS
from napari_ran.io.images import load_grid
from napari_ran.options import add_settings, assign_all, configured

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all well; a fault of the program; bad input; stopped by the user."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 bad input, 130 interrupted, 1 a fault of the program."""
    arguments = _parser().parse_args(argv)
    errors = Console(stderr=True, soft_wrap=True)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        errors.print("[yellow]Stopped; nothing was found yet, and nothing was written.[/]")
        code = INTERRUPTED
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        elif isinstance(error, RanError):
            errors.print(f"[bold red]{escape(str(error))}[/]", highlight=False)
        else:
            kind = type(error).__name__
            errors.print(
                f"[bold red]{kind}: {escape(str(error))}[/] (run again with --debug to see where)", highlight=False
            )
        code = REFUSED if isinstance(error, RanError) else FAILED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="napari-ran", description="Register images with Residual Aligner Networks.")
    parser.add_argument("--version", action="version", version=f"napari-ran {ran.__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument("--quiet", action="store_true", help="print errors only")
    add_settings(settings)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    register = commands.add_parser(
        "register", parents=[common, settings], help="register a moving image to a fixed image"
    )
    register.add_argument("fixed", metavar="FIXED", help="image that stays: NIfTI, MHA, NRRD, or a DICOM folder")
    register.add_argument("moving", metavar="MOVING", help="image that is brought onto it, of any other grid")
    register.add_argument("-o", "--output", metavar="FOLDER", help="folder for the results; made if missing")
    register.add_argument(
        "--plan", action="store_true", help="print what each stage will need of memory and what is chosen; run nothing"
    )
    for side, use in {
        "fixed": "to score the result with",
        "moving": "carried along, and scored with the fixed ones",
    }.items():
        register.add_argument(f"--{side}-labels", metavar="FILE", help=f"label map of the {side} image: {use}")
        register.add_argument(
            f"--{side}-landmarks", metavar="FILE", help=f"points of the {side} image in mm, one per row: {use}"
        )
        register.add_argument(f"--{side}-mask", metavar="FILE", help=f"where the {side} image counts: not 0")
    register.add_argument(
        "--rigid-regions", metavar="FILE", help="labels of what must not deform in the fixed image, such as bones"
    )
    register.add_argument(
        "--initial", metavar="FILE", help="transform to start from: the folder of a result, or any tool's file"
    )
    register.set_defaults(run=_register)

    demo = commands.add_parser(
        "demo", parents=[common, settings], help="register a phantom with sliding organs and score it"
    )
    demo.add_argument("-o", "--output", metavar="FOLDER", default="demo-result", help="folder for the results")
    demo.add_argument("--no-viewer", action="store_true", help="do not open napari at the end")
    demo.set_defaults(run=_demo)

    inspect = commands.add_parser(
        "inspect", parents=[common], help="write a page that shows what each level of a result did, and its arrays"
    )
    inspect.add_argument(
        "result", metavar="RESULT", help="folder of a registration with --keep-levels, or any tool's field file"
    )
    inspect.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder for the page; made if missing")
    inspect.add_argument("--ablation", action="store_true", help="also switch off every head, which takes minutes")
    inspect.add_argument(
        "--formats", metavar="LIST", default="npz,nifti", help="files of the arrays: npz,nifti or none"
    )
    inspect.add_argument("--quiet", action="store_true", help="print errors only")
    inspect.set_defaults(run=_inspect)

    apply = commands.add_parser(
        "apply", parents=[common], help="bring images, labels, points and surfaces of the moving image to the fixed one"
    )
    _add_transform(apply)
    apply.add_argument("files", metavar="FILE", nargs="+", help="what lies in the moving image's space")
    apply.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder for the results")
    apply.add_argument("--reference", metavar="FILE", help="image on whose grid voxels come out; else the field's own")
    apply.add_argument(
        "--kind", choices=("auto", "image", "labels", "points", "surface"), default="auto",
        help="what the files are; by default their endings and names say it",
    )  # fmt: skip
    apply.add_argument(
        "--labels", choices=("nearest", "gaussian"), default="nearest", help="how labels are read: gaussian is smooth"
    )
    apply.add_argument(
        "--to", choices=("auto", "nifti", "zarr"), default="auto",
        help="what images and label maps become: zarr is OME-Zarr, made chunk by chunk; what they are, by default",
    )  # fmt: skip
    apply.add_argument("--quiet", action="store_true", help="print errors only")
    apply.set_defaults(run=_apply)

    export = commands.add_parser("export", parents=[common], help="write a transform for another tool")
    _add_transform(export)
    export.add_argument("output", metavar="OUTPUT", help="file to write, such as field.h5 or 1Warp.nii.gz")
    export.add_argument("--format", choices=tuple(FORMATS), help="format, where the name does not say it")
    export.add_argument("--quiet", action="store_true", help="print errors only")
    export.set_defaults(run=_export)

    train = commands.add_parser("train", parents=[common], help="train a network as a YAML file says")
    train.add_argument(
        "config", metavar="CONFIG", nargs="+", help="settings of the training, as the viewer exports them; of its parts"
    )
    train.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="folder for weights and log; for several parts one each"
    )
    train.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder, if there is one")
    train.add_argument("--quiet", action="store_true", help="print errors only")
    train.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="replace a setting of every file, such as budget.minutes=30",
    )
    train.set_defaults(run=_train)

    evaluate = commands.add_parser(
        "evaluate", parents=[common, settings], help="score a list of pairs by their fields, or register and score them"
    )
    evaluate.add_argument(
        "cases", metavar="CASES", help="CSV file with a row for each pair, or a JSON file of Learn2Reg"
    )
    evaluate.add_argument("--fields", metavar="FOLDER", help="score the fields in this folder, one for each pair")
    evaluate.add_argument(
        "--paper", action="store_true", help="measure also as the paper's released code does, for its tables"
    )
    evaluate.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder for the tables")
    evaluate.set_defaults(run=_evaluate)

    batch = commands.add_parser(
        "batch", parents=[common, settings], help="register the pairs of a list side by side, each into its own folder"
    )
    batch.add_argument("cases", metavar="CASES", help="CSV file with a row for each pair, or a JSON file of Learn2Reg")
    batch.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder for the results and the summary")
    batch.add_argument("--workers", metavar="N", type=_count, help="how many processes, or jobs of a queue")
    batch.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="a Dask scheduler that runs already, or a YAML file that names a cluster's queue; else this machine",
    )  # fmt: skip
    batch.add_argument(
        "--retries", metavar="N", type=_count, default=1, help="how often a pair that a fault ended is tried again"
    )
    batch.set_defaults(run=_batch)

    benchmark = commands.add_parser(
        "benchmark", parents=[common], help="train systems alike, and compare them and other tools on the same pairs"
    )
    benchmark.add_argument("config", metavar="CONFIG", help="YAML file: what is compared, on what, and how")
    benchmark.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="folder for tables, figures, trainings and scores"
    )
    benchmark.add_argument(
        "--only", metavar="NAMES", default="", help="do only these systems, tools or rows now, separated by commas"
    )
    benchmark.add_argument("--quiet", action="store_true", help="print errors only")
    benchmark.set_defaults(run=_benchmark)

    models = commands.add_parser("models", parents=[common], help="list the bundled weights")
    models.set_defaults(run=_models)
    return parser


def _add_transform(parser: argparse.ArgumentParser) -> None:
    """Add what says which transform is meant, and in which direction."""
    parser.add_argument("transform", metavar="TRANSFORM", help="folder of a registration, or any tool's transform")
    parser.add_argument("--fixed", metavar="FILE", help="the fixed image: a transform without a grid needs it")
    parser.add_argument("--moving", metavar="FILE", help="the moving image: FSL's warps and inverses need its grid")
    parser.add_argument("--from-format", choices=tuple(FORMATS), help="what TRANSFORM is, where it does not say it")
    parser.add_argument("--inverse", action="store_true", help="take the transform the other way round")


def _register(arguments: argparse.Namespace) -> int:
    config = configured(arguments)
    if not arguments.plan:
        if arguments.output is None:
            raise InputError("--output", "is missing", "Name a folder for the results, or ask for the --plan alone")
        _check_output(arguments.output)
    kinds = ("labels", "landmarks", "mask")
    names = [f"{side}_{kind}" for kind in kinds for side in ("fixed", "moving")] + ["rigid_regions", "initial"]
    extras = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    run = ran.start(arguments.fixed, arguments.moving, config, **extras)
    if arguments.plan:
        terminal.print_plan(run.plan)
        run.plan.check(config)
        return DONE
    registration = terminal.follow(run, quiet=arguments.quiet)
    return _deliver(registration, registration.save(arguments.output), arguments.quiet)


def _demo(arguments: argparse.Namespace) -> int:
    from napari_ran.io import save_image

    config = configured(arguments)
    _check_output(arguments.output)
    pair = ran.sliding_phantom(seed=0)
    run = ran.start(
        pair.fixed, pair.moving, config,
        fixed_labels=pair.fixed_labels, moving_labels=pair.moving_labels,
        fixed_landmarks=pair.fixed_landmarks, moving_landmarks=pair.moving_landmarks,
    )  # fmt: skip
    registration = terminal.follow(run, quiet=arguments.quiet)
    before = pair.slip(ran.DisplacementField.identity(pair.truth.grid))
    after = pair.slip(registration.field)
    exact: list[terminal.Row] = [
        ("End-point error in the organs", before.epe_mm, after.epe_mm, "mm"),
        ("End-point error in the organs", before.epe_voxels, after.epe_voxels, "voxel"),
        ("Slip recovered at sliding boundaries", before.recovered_percent, after.recovered_percent, "%"),
    ]
    folder = registration.save(arguments.output)
    save_image(pair.fixed, folder / "fixed.nii.gz")
    save_image(pair.moving, folder / "moving.nii.gz")
    code = _deliver(registration, folder, arguments.quiet, exact)
    if code == DONE and not arguments.no_viewer:
        terminal.open_viewer([folder / f"{name}.nii.gz" for name in ("fixed", "moving", "warped")], arguments.quiet)
    return code


def _inspect(arguments: argparse.Namespace) -> int:
    from napari_ran import webpage

    _check_output(arguments.output)
    chosen = [] if arguments.formats == "none" else arguments.formats.split(",")
    inspection = ran.Inspection.load(arguments.result)
    steps = webpage.report_steps(
        inspection,
        arguments.output,
        ablation=arguments.ablation,
        formats=chosen,
        details=webpage.provenance(arguments.result),
    )
    page = terminal.follow_report(steps, quiet=arguments.quiet)
    if not arguments.quiet:
        terminal.print_page(page, inspection.note)
    return DONE


def _transform(arguments: argparse.Namespace) -> Transform:
    grids = {side: load_grid(path) for side in ("fixed", "moving") if (path := getattr(arguments, side)) is not None}
    found = Transform.load(arguments.transform, arguments.from_format, **grids)
    return found.opposite() if arguments.inverse else found


def _apply(arguments: argparse.Namespace) -> int:
    _check_output(arguments.output)
    transform = _transform(arguments)
    grid = None if arguments.reference is None else load_grid(arguments.reference)
    steps = apply_files(
        transform, arguments.files, arguments.output, arguments.kind, arguments.labels, grid=grid, to=arguments.to
    )
    terminal.follow_apply(steps, quiet=arguments.quiet)
    return DONE


def _export(arguments: argparse.Namespace) -> int:
    path = _transform(arguments).save(arguments.output, arguments.format)
    if not arguments.quiet:
        Console().print(f"Written: {escape(str(path))}", highlight=False, soft_wrap=True)
    return DONE


def _train(arguments: argparse.Namespace) -> int:
    from napari_ran.config import TrainConfig
    from napari_ran.dashboard import follow_training
    from napari_ran.train.parts import parts_of

    files, configs = [Path(name) for name in arguments.config], []
    for file in files:
        values = TrainConfig.from_yaml(file).to_dict()
        assign_all(values, arguments.assignments, "budget.minutes=30")
        configs.append(TrainConfig(**values))
    _check_output(arguments.output)
    for part in parts_of(files, configs, Path(arguments.output), arguments.resume):
        if follow_training(part.config, part.folder, arguments.resume, arguments.quiet) == "closed":
            return INTERRUPTED
    return DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    from napari_ran import cases

    config, listed = configured(arguments), cases.read_cases(arguments.cases)
    if arguments.fields is not None:
        listed = cases.with_fields(listed, arguments.fields)
    _check_output(arguments.output)
    steps = cases.score_cases(listed, arguments.output, config, paper=arguments.paper)
    scores = terminal.follow_cases(steps, quiet=arguments.quiet)
    files = cases.write_tables(scores, arguments.output)
    if not arguments.quiet:
        terminal.print_summary(cases.summarise(scores), files)
    return DONE


def _batch(arguments: argparse.Namespace) -> int:
    from napari_ran.cases import read_cases
    from napari_ran.cohort import ClusterConfig, register_cohort

    config, listed = configured(arguments), read_cases(arguments.cases)
    cluster = ClusterConfig.of(arguments.scheduler, arguments.workers)
    _check_output(arguments.output)
    steps = register_cohort(listed, arguments.output, config, cluster, retries=arguments.retries)
    outcomes = terminal.follow_cohort(steps, quiet=arguments.quiet)
    if not arguments.quiet:
        terminal.print_cohort(outcomes, Path(arguments.output))
    return FAILED if any(outcome.status == "failed" for outcome in outcomes) else DONE


def _benchmark(arguments: argparse.Namespace) -> int:
    from napari_ran.benchmark import run_benchmark
    from napari_ran.config import BenchmarkConfig

    config = BenchmarkConfig.from_yaml(arguments.config)
    _check_output(arguments.output)
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    results = terminal.follow_benchmark(run_benchmark(config, arguments.output, only), quiet=arguments.quiet)
    if not arguments.quiet:
        terminal.print_benchmark(Path(arguments.output))
    return FAILED if any(result.failure for result in results) else DONE


def _models(arguments: argparse.Namespace) -> int:
    terminal.print_models(ran.available_weights())
    return DONE


def _deliver(registration: ran.Registration, folder: Path, quiet: bool, exact: Sequence[terminal.Row] = ()) -> int:
    """Print what was measured and where it was saved, and return the exit code."""
    if not quiet:
        terminal.print_report(registration.report, exact)
        terminal.print_files(folder)
    if registration.report.complete:
        return DONE
    Console(stderr=True, soft_wrap=True).print(
        f"[yellow]Stopped early: the best registration so far is in {escape(str(folder))}.[/]", highlight=False
    )
    return INTERRUPTED


def _count(text: str) -> int:
    """Read a number of things."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number, got '{text}'")
    return number


def _check_output(output: str) -> None:
    """Refuse a folder that cannot be written before the long work, not after it."""
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise InputError("--output", f"{folder} is a file", "Name a folder for the results")
    parent = next(part for part in (folder.absolute(), *folder.absolute().parents) if part.exists())
    if not os.access(parent, os.W_OK):
        raise OutputError(str(folder), f"{parent} may not be written to", "Choose another folder")


if __name__ == "__main__":
    sys.exit(main())
