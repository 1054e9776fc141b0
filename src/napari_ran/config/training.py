"""Settings of a training: the same in Python, in the YAML of ``napari-ran train`` and in the viewer.

Lengths are in voxels of the network's grid unless a unit is named; array axes are counted from 0.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from napari_ran.config.base import SWITCH, FrozenConfig
from napari_ran.config.generated import PairConfig
from napari_ran.config.model import OTHER_SYSTEMS, PRESETS, RANConfig
from napari_ran.errors import InputError
from napari_ran.types import CoarseLooks, Intensity

VERSION = 1
"""Version of these settings; it goes up when a file of the version before would be misread."""

PREVIOUS = "previous"
"""As the start of a part: the best weights of the part before."""

Share = Field(0.0, ge=0, le=1)


class ModelSettings(FrozenConfig):
    """Which network is trained, and from where it starts.

    Attributes
    ----------
    preset : str
        Structure, see `RANConfig.preset`; or another system of the paper's tables, see `napari_ran.models.SYSTEMS`.
    ndim : {2, 3}
        Number of spatial axes.
    structure : RANConfig, optional
        The whole structure, in place of `preset` and `ndim`.
    start : str
        ``scratch``; ``auto``, the bundled general model for `ndim` axes; the name of installed weights; a file of
        weights; or ``previous``, the best weights of the part before in a training of several. Weights bring their own
        structure.
    hold : tuple of str
        Parts that are not trained, by the beginning of their weights' names. Holding ``displacement``, the last
        convolution, at its start makes the Residual Aligners do the work that it would otherwise take over. None for a
        network of another kind.
    levels : int, optional
        How many levels are trained, from the coarsest on; the later ones are left out and held, and the field of the
        last one that is left, repeated to the images' grid, is what is judged. For the first part of a training: where
        the last level reaches every displacement, the coarse ones learn nothing beside it.
    coarse_looks : {"auto", "on", "off"}
        Whether the network is trained as it looks at a pair from coarse to fine: on grids of a quarter of the voxels
        each first, each time at what is left (see `RegistrationConfig.coarse_looks`). ``auto`` does as the weights do
        that it starts from, and does not from scratch.
    """

    preset: str = "RAN3"
    ndim: Literal[2, 3] = 3
    structure: RANConfig | None = None
    start: str = "scratch"
    hold: tuple[str, ...] = ("displacement",)
    levels: PositiveInt | None = None
    coarse_looks: Annotated[CoarseLooks, SWITCH] = "auto"

    @model_validator(mode="after")
    def _known(self) -> Self:
        known = (*PRESETS, *OTHER_SYSTEMS)
        if self.preset not in known:
            close = difflib.get_close_matches(self.preset, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known are {', '.join(known)}"
            raise InputError("preset", f"there is no system '{self.preset}'", hint)
        return self


class DataSettings(FrozenConfig):
    """Where the pairs come from, and how they are brought to the network's grid.

    Attributes
    ----------
    source : {"generated", "pairs", "folder", "dataset"}
        Generated pairs (`generated`); a CSV file of pairs; all pairs of the images of a folder; a data set in the form
        of Learn2Reg (a JSON file) or of BIDS (a folder).
    path : str, optional
        The CSV file, the folder, or the JSON file.
    generated : PairConfig
        What generated pairs look like.
    labels : str, optional
        For ``generated``: a folder of label maps to make the images from, in place of made-up regions; `spacing` is
        theirs. For ``folder``: the folder of the label maps, which are called like their images. For ``dataset`` of
        BIDS: the suffix of the label files, ``dseg`` when left out.
    suffix : str
        For ``dataset`` of BIDS: the suffix of the images.
    include, exclude : tuple of str
        Names or patterns such as ``sub-1*``; a subject is used if one of `include` fits (or there is none) and none of
        `exclude` does.
    first : int, optional
        Use only the first so many subjects by name.
    shape : tuple of int, optional
        Shape of the working grid. Without `spacing` images are resized to it; with `spacing` they are cut or padded.
    spacing : float or tuple of float, optional
        Voxel size of the working grid in mm; the images' own when left out.
    voxels : int
        About the most voxels of the working grid where neither `shape` nor `spacing` is given; larger images are seen
        on a coarser one.
    intensity : {"auto", "ct-soft", "ct-lung", "mri", "minmax"}
        How intensities are mapped to [0, 1].
    align : {"auto", "centre", "world", "affine"}
        How images are brought together before the network: by their middles, by their headers' positions, or by an
        affine registration of each pair. ``auto`` is ``centre`` for subjects of a folder or a data set; for pairs it is
        ``world`` where the grids are equal, else ``affine``.
    cache : int
        Most memory for prepared images in MiB; what does not fit is read again when it is needed.
    ahead : int
        Number of batches that are prepared in the background.
    """

    source: Literal["generated", "pairs", "folder", "dataset"] = "generated"
    path: str | None = None
    generated: PairConfig = Field(default_factory=PairConfig)
    labels: str | None = None
    suffix: str = "T1w"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    first: PositiveInt | None = None
    shape: tuple[PositiveInt, ...] | None = None
    spacing: PositiveFloat | tuple[PositiveFloat, ...] | None = None
    voxels: int = Field(512**2, ge=4096)
    intensity: Intensity = "auto"
    align: Literal["auto", "centre", "world", "affine"] = "auto"
    cache: PositiveInt = 2048
    ahead: PositiveInt = 2


class AugmentSettings(FrozenConfig):
    """Random changes of each training pair; both images alike, except for their intensities.

    Attributes
    ----------
    crop : tuple of int, optional
        Shape of a random part of the working grid; axes that are shorter stay whole.
    intensity : float
        Each image is multiplied by one plus a value of at most this, either way (the paper: 0.2).
    noise : float
        Largest standard deviation of added noise.
    flips : tuple of int
        Array axes along which a pair may be mirrored. None by default: bodies are not symmetric.
    swap : bool
        Exchange fixed and moving image at random; not where the true field is known, which has one direction.
    """

    crop: tuple[PositiveInt, ...] | None = None
    intensity: float = Share
    noise: float = Share
    flips: tuple[NonNegativeInt, ...] = ()
    swap: bool = False


class ObjectiveSettings(FrozenConfig):
    """What is minimised: a sum of terms by their weights; a weight of 0 leaves a term out.

    Attributes
    ----------
    similarity : float
        Weight of the dissimilarity of the warped and the fixed image.
    compare : {"ncc", "mse", "mind"}
        How they are compared: one minus local NCC, mean squares, or mean squares of MIND-SSC.
    window : int
        Side of the box of the local NCC in voxels.
    smooth : float
        Weight of the smoothness of the field.
    smoothness : {"plain", "edges", "released"}
        Mean squared differences; the same let go across edges of the fixed image (Eq. 13); or the absolute differences
        with the edge weight of the released code.
    edge_scale : float
        Strength of the edge weight.
    field : float
        Weight of the error against the true field, where it is known.
    field_error : {"length", "squared"}
        Mean length of the error (softened below a tenth of a voxel), or its mean square (the paper's stage 1).
    levels : float
        Deep supervision: the share of similarity and field error that looks at the levels' fields, the rest at the
        final one.
    dice : float
        Weight of one minus the soft Dice of the labels (weak supervision).
    labels : tuple of int
        Labels that count for it; all when empty.
    landmarks : float
        Weight of the mean distance of corresponding landmarks in mm.
    inverse : float
        Weight of the inverse consistency of both directions.
    folding : float
        Weight of the mean of the negative part of the Jacobian determinant.
    foreground : float, optional
        Compare images only where the fixed one is above this (the paper: 0.1 for CT).
    both : bool
        Train both directions in one pass: the mean of both directions' terms. The true field has one direction only.
    """

    similarity: NonNegativeFloat = 1.0
    compare: Literal["ncc", "mse", "mind"] = "ncc"
    window: int = Field(9, ge=1, le=31)
    smooth: NonNegativeFloat = 2.0
    smoothness: Literal["plain", "edges", "released"] = "plain"
    edge_scale: NonNegativeFloat = 5.0
    field: NonNegativeFloat = 0.0
    field_error: Literal["length", "squared"] = "length"
    levels: float = Share
    dice: NonNegativeFloat = 0.0
    labels: tuple[PositiveInt, ...] = ()
    landmarks: NonNegativeFloat = 0.0
    inverse: NonNegativeFloat = 0.0
    folding: NonNegativeFloat = 0.0
    foreground: float | None = None
    both: bool = True

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.similarity or self.field or self.dice or self.landmarks):
            raise InputError("similarity", "nothing draws the images together", "Give similarity or dice a weight")
        return self


class OptimiserSettings(FrozenConfig):
    """How the weights follow the gradient.

    Attributes
    ----------
    batch : int
        Pairs per process and pass.
    accumulate : int
        Passes per step; a step sees ``batch * accumulate`` pairs per process.
    method : {"adam", "muon"}
        Adam with decoupled weight decay, or Muon (see `napari_ran.train.muon`), which learns in fewer steps here.
    rate : float
        Learning rate; Adam wants about a quarter of Muon's.
    warmup : int
        Steps over which the rate rises linearly from zero.
    decay_from : float
        Share of the budget after which the rate falls by a cosine.
    final : float
        Share of the rate that is left at the end.
    clip : float
        Largest norm of the gradient.
    weight_decay : float
        Decoupled weight decay.
    average : float
        Decay of the running mean of the weights, which is what is validated and kept; 0 keeps the weights themselves.
    not_finite : int
        A run ends after so many steps in a row without a finite gradient.
    """

    batch: PositiveInt = 1
    accumulate: PositiveInt = 1
    method: Literal["adam", "muon"] = "muon"
    rate: PositiveFloat = 2e-3
    warmup: NonNegativeInt = 50
    decay_from: float = Field(0.6, ge=0, le=1)
    final: float = Field(0.1, ge=0, le=1)
    clip: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    average: float = Field(0.99, ge=0, lt=1)
    not_finite: PositiveInt = 20


class ValidationSettings(FrozenConfig):
    """How a run is measured, always on the same pairs.

    Attributes
    ----------
    every : int
        Steps between two validations.
    pairs : int
        Number of pairs.
    holdout : int
        For a folder or a data set without `data`: this many subjects, the last by name, are kept for validation. For
        pairs: this many of the last pairs. For generated pairs: this many of the last label maps.
    data : DataSettings, optional
        Other data to validate on.
    best : {"auto", "dice", "tre", "epe", "similarity", "loss"}
        What makes a checkpoint the best. ``auto`` takes the first of Dice, landmark error (TRE), end-point error (EPE)
        and loss that can be measured.
    patience : int, optional
        End after so many validations without a better one.
    save_every : int, optional
        Steps between checkpoints; at every validation when left out.
    snapshots : int
        About this many sets of weights over the course of the training are kept, to look at it afterwards.
    """

    every: PositiveInt = 100
    pairs: PositiveInt = 12
    holdout: NonNegativeInt = 0
    data: DataSettings | None = None
    best: Literal["auto", "dice", "tre", "epe", "similarity", "loss"] = "auto"
    patience: PositiveInt | None = None
    save_every: PositiveInt | None = None
    snapshots: NonNegativeInt = 0


class ComputeSettings(FrozenConfig):
    """On what, and in which precision.

    Attributes
    ----------
    device : str
        ``auto`` picks CUDA, then MPS, then the CPU; or a torch device such as ``cuda:1``.
    devices : int
        Processes, one per device. torchrun and ``fabric run`` say it themselves.
    nodes : int
        Machines.
    precision : {"fp32", "bf16", "fp16"}
        Precision of the network's convolutions; weights, objective and optimiser are always fp32.
    channels_last : bool
        Memory layout of the weights; faster on nearly every processor.
    deterministic : bool
        Use only algorithms that give the same result each time, which is slower on a GPU. The CPU's are anyway.
    """

    device: str = "auto"
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    deterministic: bool = False


class BudgetSettings(FrozenConfig):
    """When a run ends, whichever comes first.

    Attributes
    ----------
    steps : int
        Number of steps.
    minutes : float, optional
        Time in minutes over all stretches of the run together, validation included.
    clock : {"wall", "processor"}
        What a minute is: one on the clock, or one of a processor core's work for this run (threads add up). The second
        gives equal budgets on a machine that does other things besides; it says nothing about a GPU.
    """

    steps: PositiveInt = 10_000
    minutes: PositiveFloat | None = None
    clock: Literal["wall", "processor"] = "wall"

    def spent(self, steps: int, seconds: float) -> float:
        """Return the share of the budget that is spent after so many steps in so many seconds; above 1 it is over.

        Parameters
        ----------
        steps : int
            Steps that are done.
        seconds : float
            What they took, by `clock`.
        """
        return max(steps / self.steps, 0.0 if self.minutes is None else seconds / (60 * self.minutes))


class TrainConfig(FrozenConfig):
    """Every choice of a training run.

    Attributes
    ----------
    version : int
        Version of these settings; a file of a later one is refused.
    name : str
        What to call the trained model.
    seed : int
        Seed of the weights, of the order of the pairs and of what is drawn for them.
    model, data, augment, objective, optimiser, validation, compute, budget : settings
        The sections; see their classes.
    """

    version: PositiveInt = VERSION
    name: str = "my-model"
    seed: NonNegativeInt = 0
    model: ModelSettings = Field(default_factory=ModelSettings)
    data: DataSettings = Field(default_factory=DataSettings)
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    optimiser: OptimiserSettings = Field(default_factory=OptimiserSettings)
    validation: ValidationSettings = Field(default_factory=ValidationSettings)
    compute: ComputeSettings = Field(default_factory=ComputeSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)

    @model_validator(mode="before")
    @classmethod
    def _not_newer(cls, values: Any) -> Any:
        version = values.get("version", VERSION) if isinstance(values, dict) else VERSION
        if isinstance(version, int) and version > VERSION:
            raise InputError(
                "version",
                f"these settings are of version {version}, and this napari-ran knows versions up to {VERSION}",
                "Update napari-ran",
            )
        return values
