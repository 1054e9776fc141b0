"""The story of a registration: check, preprocess, affine, network, instance, transform, evaluate."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike

from napari_ran._version import __version__
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField, Image, Labels, Landmarks
from napari_ran.data.grid import shape_text
from napari_ran.device import describe_device, resolve_device
from napari_ran.errors import InputError
from napari_ran.evaluate import evaluate
from napari_ran.events import Event
from napari_ran.exchange import Transform
from napari_ran.guidance import check_guidance, guides_for, masks_for, rigid_messages
from napari_ran.inputs import Inputs, load_inputs
from napari_ran.instance import Guide, InstanceStep, optimise_field, optimise_network
from napari_ran.io.checkpoints import looks_coarsely
from napari_ran.measure import StageRecord, measured_stage
from napari_ran.memory import give_back_freed_memory, keeping_freed_memory, out_of_memory, ran_out
from napari_ran.models import Levelled, create_model
from napari_ran.models.compiled import compile_blocks
from napari_ran.passes import Look, compiled_pass, network_pass, on_coarser_grid
from napari_ran.plan import LEAST_VOXELS, MemoryPlan, plan_run
from napari_ran.precision import check_precision, precisions_for
from napari_ran.preprocess import STEPS, PrepareStep, prepare_pair, working_grid
from napari_ran.results import GIVEN, Registration
from napari_ran.steps import last, relay
from napari_ran.transform import compose_inverse, compose_to
from napari_ran.working import Working, network_for


def register(
    fixed: Image | str | Path,
    moving: Image | str | Path,
    config: RegistrationConfig | None = None,
    *,
    fixed_labels: Labels | str | Path | None = None,
    moving_labels: Labels | str | Path | None = None,
    fixed_landmarks: Landmarks | str | Path | None = None,
    moving_landmarks: Landmarks | str | Path | None = None,
    fixed_mask: Labels | str | Path | None = None,
    moving_mask: Labels | str | Path | None = None,
    rigid_regions: Labels | str | Path | None = None,
    initial: DisplacementField | ArrayLike | str | Path | None = None,
    **overrides: Any,
) -> Registration:
    """Register a moving image to a fixed image.

    Parameters
    ----------
    fixed : Image or path
        The image that stays; the result lies on its grid.
    moving : Image or path
        The image that is brought onto it; its grid may be any other of the same dimension.
    config : RegistrationConfig, optional
        The settings; the defaults when left out.
    fixed_labels, moving_labels : Labels or path, optional
        Label maps on their image's grid: the moving ones are carried along, and with both the Dice overlap is reported.
        They do not enter the registration unless ``instance.labels`` gives them a weight.
    fixed_landmarks, moving_landmarks : Landmarks or path, optional
        Points in mm, RAS+: the moving ones are carried along, and with both the TRE is reported. They do not enter the
        registration unless ``instance.landmarks`` gives them a weight.
    fixed_mask, moving_mask : Labels or path, optional
        Where each image counts (not 0), on its own grid: the affine alignment and the refinement of the field compare
        only there, and what lies elsewhere follows smoothly. The network looks at everything.
    rigid_regions : Labels or path, optional
        Regions of the fixed image, such as bones, each of which moves rigidly: by the refinement of the field.
    initial : DisplacementField, (D + 1, D + 1) array or path, optional
        Where to start from: fixed to moving world positions, of this or any other tool. The affine alignment goes on
        from an affine transform (``affine="none"`` keeps it); a field stays as it is, and takes the network's place.
    **overrides
        Settings by name that replace those of `config`, such as ``affine="none"`` or ``instance="network"``.

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        An argument cannot be used; the message names it, what came, and the cure.
    """
    run = start(
        fixed,
        moving,
        config,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_landmarks=fixed_landmarks,
        moving_landmarks=moving_landmarks,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        rigid_regions=rigid_regions,
        initial=initial,
        **overrides,
    )
    for _ in run:
        pass
    return run.result()


def start(
    fixed: Image | str | Path,
    moving: Image | str | Path,
    config: RegistrationConfig | None = None,
    *,
    fixed_labels: Labels | str | Path | None = None,
    moving_labels: Labels | str | Path | None = None,
    fixed_landmarks: Landmarks | str | Path | None = None,
    moving_landmarks: Landmarks | str | Path | None = None,
    fixed_mask: Labels | str | Path | None = None,
    moving_mask: Labels | str | Path | None = None,
    rigid_regions: Labels | str | Path | None = None,
    initial: DisplacementField | ArrayLike | str | Path | None = None,
    **overrides: Any,
) -> Run:
    """Check the inputs and return a `Run` that registers them while it is iterated.

    See `register` for the parameters and the errors; all errors about the inputs are raised here, before any work.
    """
    settings = (config or RegistrationConfig()).replace(**overrides)
    inputs = load_inputs(
        fixed,
        moving,
        initial=initial,
        fixed_labels=fixed_labels,
        moving_labels=moving_labels,
        fixed_landmarks=fixed_landmarks,
        moving_landmarks=moving_landmarks,
        fixed_mask=fixed_mask,
        moving_mask=moving_mask,
        rigid_regions=rigid_regions,
    )
    return Run(inputs, settings)


class Run:
    """A registration under way: iterate it for its events, then ask for the result.

    Closing or cancelling keeps what was found: `result` then returns the best registration so far, with
    ``report.complete`` false. Iterate a run once.

    Parameters
    ----------
    inputs : Inputs
        The loaded and checked pair, with what was given beside it.
    config : RegistrationConfig
        The settings.
    """

    def __init__(self, inputs: Inputs, config: RegistrationConfig) -> None:
        self.config = config
        self._inputs = inputs
        check_guidance(config, inputs)
        device = resolve_device(config.device)  # one that is not there is refused before any work
        check_precision(config, device)
        self._model, message = None, "No network, and no levels to keep: the initial transform takes its place"
        if inputs.initial is None or inputs.initial.field is None:
            self._model, message = network_for(inputs.fixed.grid.ndim, config)
        precisions, reason = precisions_for(config, working_grid(inputs.fixed.grid, config.spacing)[0], device)
        self._plan = plan_run(inputs.fixed.grid, inputs.moving.grid, config, self._model, precisions)
        self.device = self._plan.device
        if self._model is not None and config.compile and config.instance.mode != "network":
            compile_blocks(self._model, self.device)
        self._voxels = self._plan.limit
        self._found = Working(messages=[message, self._plan.line, *filter(None, [reason]), *self._plan.choices])
        self._records: list[StageRecord] = []
        self._registration: Registration | None = None
        self._coarser = False
        self._cancelled = threading.Event()
        self._events = self._stages()

    def __iter__(self) -> Iterator[Event]:
        for event in self._events:
            yield event
            if self._cancelled.is_set():
                break
        self.close()

    def cancel(self) -> None:
        """Ask the run to stop after its current step; may be called from any thread."""
        self._cancelled.set()

    def close(self) -> None:
        """Stop the run where it is; call from the thread that iterates it."""
        self._events.close()

    @property
    def plan(self) -> MemoryPlan:
        """What was predicted of the run's memory before it started, and chosen so that it fits."""
        return self._plan

    @property
    def has_result(self) -> bool:
        """Whether `result` has something to give: true once the images are aligned affinely."""
        return self._found.prepared is not None

    def result(self) -> Registration:
        """Return the registration: the whole one after the last event, before that the best so far.

        Raises
        ------
        InputError
            The run was stopped before anything was found.
        """
        if self._registration is None:
            if not self.has_result:
                raise InputError(
                    "result",
                    "the run was stopped before anything was found",
                    "Let it run at least until the affine stage is done",
                )
            self._found.messages.append("The run was stopped early: this is the best field so far")
            self._registration = last(self._finish(complete=False))
        return self._registration

    def _stages(self) -> Generator[Event, None, None]:
        self._plan.check(self.config)
        yield Event("preprocess", 0, STEPS, self._plan.line)
        if self._model is not None:
            self._model.to(self.device)
        with keeping_freed_memory():
            yield from self._prepare()
            for name, stage in (("network", self._apply_network), ("instance", self._refine)):
                with self._stage(name, self.device):
                    yield from self._with_less_memory(name, stage)
            self._registration = yield from self._finish(complete=True)

    def _stage(self, name: str, device: torch.device) -> AbstractContextManager[None]:
        """Return what measures a stage, which starts without the memory that the one before has freed."""
        give_back_freed_memory()
        return measured_stage(name, device, self._records)

    def _with_less_memory(
        self, name: str, stage: Callable[[], Generator[Event, None, None]]
    ) -> Generator[Event, None, None]:
        """Run a stage, and again with a smaller choice as often as memory runs out in spite of the prediction."""
        while True:
            said = len(self._found.messages)
            try:
                yield from stage()
                return
            except Exception as error:
                if not ran_out(error):
                    raise
                full, change = describe_device(self.device), self._smaller_choice(name)
                if not change:
                    raise out_of_memory(self.device) from error
            self._found.messages[said:] = [f"{full} ran out of memory: {change}"]  # the stage will say the rest again
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _smaller_choice(self, stage: str) -> str:
        """Choose what needs less memory, in the order of `plan_run`, and say what; nothing where nothing is left."""
        shape = self._found.pair.grid.shape
        voxels, looks = math.prod(shape), self.config.instance.mode != "network"
        seen = min(self._voxels, voxels)
        if stage == "network" and looks and self._model is not None and seen // 2 >= LEAST_VOXELS:
            self._voxels = seen // 2
            return f"the network sees {self._voxels:,} voxels at once instead"
        if stage == "instance" and self.config.spacing is None and not self._coarser and voxels // 2 >= LEAST_VOXELS:
            self._coarser = True
            self._found.leave_device()
            on_coarser_grid(self._found, voxels // 2)
            return f"continued on a working grid of {shape_text(self._found.pair.grid.shape)} voxels instead"
        if self.device == torch.device("cpu"):
            return ""
        self.device = torch.device("cpu")
        self._found.leave_device()
        if self._model is not None:
            self._model.to(self.device)
        return "computed on the CPU instead"

    def _prepare(self) -> Generator[Event, None, None]:
        """Bring both images onto one working grid, affinely aligned."""
        inputs = self._inputs
        masks = inputs.fixed_mask, inputs.moving_mask
        steps = prepare_pair(inputs.fixed, inputs.moving, self.config, inputs.initial, masks, self._plan.budget)
        stage = ""
        with ExitStack() as measured:  # each stage by itself

            def event(step: PrepareStep) -> Event:
                nonlocal stage
                if step.stage != stage:
                    stage = step.stage
                    measured.close()
                    measured.enter_context(self._stage(stage, torch.device("cpu")))
                metrics = {} if step.metric is None else {"similarity": step.metric}
                return Event(stage, step.step, step.total, step.message, metrics)

            self._found.prepared = yield from relay(steps, event)
        self._found.messages.extend(self._found.pair.messages)

    def _apply_network(self) -> Generator[Event, None, None]:
        """Predict both directions with the network, coarse to fine."""
        prepared, model = self._found.pair, self._model
        if prepared.initial is not None:
            self._found.forward, self._found.refined = prepared.initial.to(self.device), True
            yield Event("network", 1, 1, "no network")
            return
        if model is None or self.config.instance.mode == "network":
            yield Event("network", 1, 1, "the network is fitted in the next stage" if model else "no network")
            return
        coarse = looks_coarsely(model, self.config.coarse_looks)
        look = Look(self._voxels, coarse, bool(self._plan.tile), self._plan.precision)
        passing = compiled_pass if self.config.compile else network_pass
        yield from passing(model, self._found, look, self.config.keep_levels, self.device)

    def _refine(self) -> Generator[Event, None, None]:
        """Optimise the field, or the network, for this pair."""
        prepared, found, settings = self._found.pair, self._found, self.config.instance
        if settings.mode == "none":
            yield Event("instance", 1, 1, "no instance optimisation")
            return
        fixed, moving = prepared.fixed.to(self.device), prepared.moving.to(self.device)
        resolved = settings.resolved(prepared.intensity.preset)
        spacing = tuple(float(s) for s in prepared.grid.spacing)
        model = self._model
        guides: tuple[Guide, ...] = ()
        if model is None and settings.mode == "network":
            model = create_model(self.config.preset, ndim=2 if prepared.grid.ndim == 2 else 3).to(self.device).eval()
        if model is not None and settings.mode == "network":
            steps = optimise_network(model, fixed, moving, resolved, spacing, self.config.keep_levels)
        else:
            guides, said = guides_for(prepared, self._inputs, self.config, self.device)
            found.messages.extend(said)
            masks = masks_for(prepared, self._inputs, self.device)
            steps = optimise_field(fixed, moving, found.forward, resolved, spacing, guides, masks)
        result = yield from relay(steps, self._instance_event, torch.enable_grad)
        found.forward, found.best_field, found.refined = result.field, None, settings.mode == "field"
        found.messages.extend((*result.messages, *rigid_messages(guides, result.field)))
        if result.output is not None:
            found.backward = result.output.inverse_field
        if result.output is not None and result.model is not None:
            found.keep(result.model, prepared.grid, (fixed, moving), result.output)
            found.keep_fitted(result.before, model if isinstance(model, Levelled) else result.model)

    def _instance_event(self, step: InstanceStep) -> Event:
        self._found.best_field = step.best_field
        metrics = {"similarity": step.similarity, "loss": step.loss} | step.measures
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        return Event("instance", step.step, step.total, step.message, metrics)

    def _finish(self, complete: bool) -> Generator[Event, None, Registration]:
        """Compose the whole transform, warp once from the original, measure."""
        inputs = self._inputs
        with self._stage("transform", self.device):
            yield Event("transform", 0, 4, "composing the transform")
            forward, backward = self._found.fields()
            affine = self._found.pair.affine
            whole = compose_to(forward, affine, inputs.fixed.grid)
            yield Event("transform", 1, 4, "composing the inverse")
            inverse = compose_inverse(backward, affine, inputs.moving.grid)
            transform = Transform(whole, inverse)
            yield Event("transform", 2, 4, "warping")
            warped = transform.apply(inputs.moving)
            yield Event("transform", 3, 4, "carrying labels and landmarks")
            labels = None if inputs.moving_labels is None else transform.apply(inputs.moving_labels)
            points = None if inputs.moving_landmarks is None else transform.apply(inputs.moving_landmarks)
            yield Event("transform", 4, 4)
        with self._stage("evaluate", self.device):
            yield Event("evaluate", 0, 1, "measuring")
            report = evaluate(
                inputs.fixed,
                inputs.moving,
                warped,
                whole,
                inverse,
                fixed_labels=inputs.fixed_labels,
                moving_labels=inputs.moving_labels,
                warped_labels=labels,
                fixed_landmarks=inputs.fixed_landmarks,
                moving_landmarks=inputs.moving_landmarks,
                complete=complete,
                settings=self.config.to_dict(),
                device=describe_device(self.device),
                version=__version__,
            )
        report = report.replace(stages=tuple(self._records), messages=tuple(self._found.messages))
        yield Event("evaluate", 1, 1, "done")
        trace = self._found.trace(forward, backward)
        given = {name: getattr(inputs, name) for name in GIVEN} | {"affine": affine}
        return Registration(
            inputs.fixed, inputs.moving, warped, whole, inverse, report, self.config, trace, labels, points, **given
        )
