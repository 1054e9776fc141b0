"""The command line: ``napari-ran register | demo | inspect | train | evaluate | benchmark | models``.

Every setting of a registration is an option whose name, choices and help come from its config, so that nothing is
listed twice. Results and tables go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from rich.console import Console
from rich.markup import escape

import napari_ran as ran
from napari_ran import terminal
from napari_ran.config import FrozenConfig
from napari_ran.errors import InputError, OutputError, RanError

if TYPE_CHECKING:
    pass

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: all well; a fault of the program; bad input; stopped by the user."""

INSTANCE_OPTIONS = {"instance": "mode", "similarity": "similarity"}
"""Options that set a value of the nested instance config; ``--set instance.KEY=VALUE`` reaches its other values."""


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
    _add_settings(settings)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    register = commands.add_parser(
        "register", parents=[common, settings], help="register a moving image to a fixed image"
    )
    register.add_argument("fixed", metavar="FIXED", help="image that stays: NIfTI, MHA, NRRD, or a DICOM folder")
    register.add_argument("moving", metavar="MOVING", help="image that is brought onto it, of any other grid")
    register.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="folder for the results; made if missing"
    )
    for side, use in {
        "fixed": "to score the result with",
        "moving": "carried along, and scored with the fixed ones",
    }.items():
        register.add_argument(f"--{side}-labels", metavar="FILE", help=f"label map of the {side} image: {use}")
        register.add_argument(
            f"--{side}-landmarks", metavar="FILE", help=f"points of the {side} image in mm, one per row: {use}"
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


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, one option per value of `RegistrationConfig`, and ``--set`` for the nested rest."""
    group = parser.add_argument_group("settings", "each replaces the value of the settings file")
    group.add_argument("--config", metavar="YAML", help="settings file, as the viewer exports it")
    instance = ran.InstanceConfig
    options: dict[str, tuple[type[FrozenConfig], str]] = {
        name: (ran.RegistrationConfig, name) for name in ran.RegistrationConfig.model_fields if name != "instance"
    }
    options |= {option: (instance, name) for option, name in INSTANCE_OPTIONS.items()}
    for option, (config, name) in options.items():
        annotation = config.model_fields[name].annotation
        extra: dict[str, Any] = {"metavar": option.upper(), "type": _value}
        if annotation is bool:
            extra = {"action": argparse.BooleanOptionalAction, "default": None}
        elif annotation is str:
            extra["type"] = str
        elif typing.get_origin(annotation) is Literal:
            extra = {"choices": typing.get_args(annotation)}
        group.add_argument(f"--{option.replace('_', '-')}", dest=f"set_{option}", help=describe(config, name), **extra)
    rest = ", ".join(name for name in instance.model_fields if name not in INSTANCE_OPTIONS.values())
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting by its name in the settings file, such as instance.similarity=ncc"
        + (f"; instance has also: {rest}" if rest else ""),
    )


def describe(config: type[FrozenConfig], name: str) -> str:
    """Return what a config's docstring says about one of its values, as one line without markup."""
    documented = re.search(rf"^    {name} : .*\n((?:        .+\n)+)", config.__doc__ or "", re.MULTILINE)
    text = " ".join(documented.group(1).split()) if documented else ""
    return text.replace("``", "").replace("`", "").replace("%", "%%")


def _configured(arguments: argparse.Namespace) -> ran.RegistrationConfig:
    """Build the config from the settings file and the options that were given."""
    config = (
        ran.RegistrationConfig() if arguments.config is None else ran.RegistrationConfig.from_yaml(arguments.config)
    )
    overrides: dict[str, Any] = {}
    given = {
        name.removeprefix("set_"): value
        for name, value in vars(arguments).items()
        if name.startswith("set_") and value is not None
    }
    for option, value in given.items():
        _assign(overrides, f"instance.{INSTANCE_OPTIONS[option]}" if option in INSTANCE_OPTIONS else option, value)
    _assign_all(overrides, arguments.assignments, "instance.similarity=ncc")
    return config.replace(**overrides)


def _assign_all(values: dict[str, Any], assignments: Sequence[str], example: str) -> None:
    """Put every ``KEY=VALUE`` of ``--set`` into nested values."""
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError("--set", f"expected KEY=VALUE, got '{assignment}'", f"Write for example --set {example}")
        _assign(values, key.strip(), _value(text))


def _value(text: str) -> Any:
    """Read a number, a word or a list as a settings file would."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # the config refuses it by name


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[last] = value


def _register(arguments: argparse.Namespace) -> int:
    config = _configured(arguments)
    _check_output(arguments.output)
    names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    extras = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    run = ran.start(arguments.fixed, arguments.moving, config, **extras)
    registration = terminal.follow(run, quiet=arguments.quiet)
    return _deliver(registration, registration.save(arguments.output), arguments.quiet)


def _demo(arguments: argparse.Namespace) -> int:
    from napari_ran.io import save_image

    config = _configured(arguments)
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


def _train(arguments: argparse.Namespace) -> int:
    from napari_ran.config import TrainConfig
    from napari_ran.dashboard import follow_training
    from napari_ran.train.parts import parts_of

    files, configs = [Path(name) for name in arguments.config], []
    for file in files:
        values = TrainConfig.from_yaml(file).to_dict()
        _assign_all(values, arguments.assignments, "budget.minutes=30")
        configs.append(TrainConfig(**values))
    _check_output(arguments.output)
    for part in parts_of(files, configs, Path(arguments.output), arguments.resume):
        if follow_training(part.config, part.folder, arguments.resume, arguments.quiet) == "closed":
            return INTERRUPTED
    return DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    from napari_ran import cases

    config, listed = _configured(arguments), cases.read_cases(arguments.cases)
    if arguments.fields is not None:
        listed = cases.with_fields(listed, arguments.fields)
    _check_output(arguments.output)
    steps = cases.score_cases(listed, arguments.output, config, paper=arguments.paper)
    scores = terminal.follow_cases(steps, quiet=arguments.quiet)
    files = cases.write_tables(scores, arguments.output)
    if not arguments.quiet:
        terminal.print_summary(cases.summarise(scores), files)
    return DONE


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
