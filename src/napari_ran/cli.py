"""The command line: ``napari-ran register | demo | inspect | apply | export | train | evaluate | batch | …``.

What each command takes stands in `napari_ran.commands`, what it does here. Results and tables go to standard output,
progress and errors to standard error.
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
from napari_ran.commands import command_line
from napari_ran.errors import InputError, OutputError, RanError
from napari_ran.exchange import Transform
from napari_ran.io.images import load_grid
from napari_ran.options import assign_all, configured

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
    return command_line(
        {
            "register": _register,
            "demo": _demo,
            "inspect": _inspect,
            "apply": _apply,
            "export": _export,
            "train": _train,
            "evaluate": _evaluate,
            "batch": _batch,
            "benchmark": _benchmark,
            "models": _models,
        }
    )


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
