"""What a run will need of memory, stage by stage, and what is chosen so that it fits: before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from napari_ran.config import RegistrationConfig
from napari_ran.counting import fit_bytes, pass_bytes
from napari_ran.data import Grid
from napari_ran.data.grid import shape_text
from napari_ran.device import describe_device, free_memory, resolve_device
from napari_ran.errors import NotEnoughMemoryError
from napari_ran.instance.pyramid import control_factor, search_tables
from napari_ran.looks import network_grid
from napari_ran.memory import TILED_BYTES, field_bytes, whole_bytes
from napari_ran.models import Network
from napari_ran.preprocess import VOXEL_BUDGET, working_grid
from napari_ran.tiling import tile_shape

USED = 0.9
"""Share of the free memory that a run may plan with."""

FINER = 1.1
"""Factor between the grids that are tried."""

LEAST_VOXELS = 32_768
"""A working grid, or a tile, of fewer voxels is not chosen on its own."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class StageNeed:
    """What a stage is predicted to need: bytes beyond what is held before the run, and on which device."""

    name: str
    bytes: int
    device: torch.device


@dataclass(frozen=True)
class MemoryPlan:
    """What a run will need, and what was chosen so that it fits.

    Attributes
    ----------
    device : torch.device
        Where the network and the refinement compute.
    precision : str
        Of the network: ``fp32``, ``bf16`` or ``fp16``.
    working : Grid
        The working grid.
    network : tuple of int
        Shape of the grid on which the network sees the whole image; empty where there is no pass of a network.
    tile : tuple of int
        Shape of the tiles on which it looks again, on the working grid; empty where it does not.
    limit : int
        Most voxels that the network may see at once.
    budget : int
        Most voxels that a working grid may have whose spacing is not asked for.
    needs : tuple of StageNeed
        Stage by stage, in the order of a run.
    free : tuple of (torch.device, int)
        Bytes that were free when the plan was made.
    choices : tuple of str
        What is not as usual, to fit into memory, in sentences.
    """

    device: torch.device
    precision: str
    working: Grid
    network: tuple[int, ...]
    tile: tuple[int, ...]
    limit: int
    budget: int
    needs: tuple[StageNeed, ...]
    free: tuple[tuple[torch.device, int], ...]
    choices: tuple[str, ...] = ()

    @property
    def network_voxels(self) -> int:
        """Most voxels that the network sees at once; 0 where there is no pass of a network."""
        return max((math.prod(shape) for shape in (self.network, self.tile) if shape), default=0)

    def free_on(self, device: torch.device) -> int:
        """Return how many bytes were free on a device of the plan."""
        return dict(self.free)[device]

    @property
    def tightest(self) -> StageNeed:
        """The stage that takes the largest share of what is free."""
        return max(self.needs, key=lambda need: need.bytes / max(1, self.free_on(need.device)))

    @property
    def computed(self) -> tuple[StageNeed, ...]:
        """The stages that another choice would make smaller."""
        return tuple(need for need in self.needs if need.name in ("network", "instance"))

    def fits(self, share: float = USED) -> bool:
        """Whether these stages need no more than this share of the free memory."""
        return all(need.bytes <= share * self.free_on(need.device) for need in self.computed)

    @property
    def line(self) -> str:
        """The plan in one sentence."""
        need = self.tightest
        parts = [f"working grid {shape_text(self.working.shape)}"]
        if self.network:
            parts.append(f"network on {shape_text(self.network)} in {self.precision}")
        if self.tile:
            parts.append(f"then on tiles of {shape_text(self.tile)}")
        return (
            f"Memory: about {_gib(need.bytes)} at most ({need.name}), {_gib(self.free_on(need.device))} free on "
            f"{describe_device(need.device)}; {', '.join(parts)}"
        )

    def table(self) -> list[tuple[str, float, float, str]]:
        """Return a row per stage: name, predicted GiB, free GiB, device."""
        return [
            (need.name, need.bytes / 2**30, self.free_on(need.device) / 2**30, describe_device(need.device))
            for need in self.needs
        ]

    def check(self, config: RegistrationConfig) -> None:
        """Refuse a run that will not fit.

        Raises
        ------
        NotEnoughMemoryError
            Naming the working spacing (as a factor) that would fit.
        """
        if self.fits(1.0):
            return
        need = max(self.computed, key=lambda one: one.bytes / max(1, self.free_on(one.device)))
        free, ndim = self.free_on(need.device), self.working.ndim
        factor = math.ceil(10 * (need.bytes / max(1, free)) ** (1 / ndim)) / 10
        raise NotEnoughMemoryError(
            "spacing",
            f"the working grid of {shape_text(self.working.shape)} voxels needs about {_gib(need.bytes)},"
            f" {_gib(free)} are free on {describe_device(need.device)}",
            f"Use a working spacing at least {factor:.1f} times as coarse (spacing=...)"
            + (", or instance='field'" if config.instance.mode == "network" else ""),
        )


def plan_run(
    fixed: Grid,
    moving: Grid,
    config: RegistrationConfig,
    model: Network | None = None,
    precisions: Sequence[str] = ("fp32",),
) -> MemoryPlan:
    """Predict what a registration needs, and choose what fits.

    In this order: a lower precision, where one is allowed; a network that sees fewer voxels at once; a coarser working
    grid, unless its spacing is asked for; the processor, unless a device is asked for.

    Parameters
    ----------
    fixed, moving : Grid
        The grids of the images.
    config : RegistrationConfig
        The settings.
    model : RAN or PairNetwork, optional
        The network that takes part.
    precisions : sequence of str
        What the network may compute in, the most wanted first.
    """
    first = resolve_device(config.device)
    usual = _Planner(fixed, moving, config, model, first)
    plan = usual.chosen(precisions)
    if config.device != "auto" or first == CPU or not usual.cramps(plan):
        return plan
    processor = _Planner(fixed, moving, config, model, CPU)
    other = processor.chosen(precisions)
    if processor.cramps(other):
        return plan
    said = f"Computed on the CPU: {describe_device(first)} has too little free memory for a useful grid"
    return replace(other, choices=(said, *other.choices))


class _Planner:
    """The plans of one run on one device."""

    def __init__(
        self, fixed: Grid, moving: Grid, config: RegistrationConfig, model: Network | None, device: torch.device
    ) -> None:
        self.fixed, self.moving, self.config, self.model, self.device = fixed, moving, config, model, device
        self.free = tuple((one, free_memory(one)) for one in dict.fromkeys((device, CPU)))
        self.wanted = working_grid(fixed, config.spacing)[0]

    def chosen(self, precisions: Sequence[str]) -> MemoryPlan:
        """Return the first plan that fits, or the most wanted one where none does."""
        limit, said = self.config.network_voxels, list[str]()
        plan = usual = self.made(self.wanted, limit, precisions[0])
        if plan.fits():
            return plan
        for precision in precisions[1:]:
            plan = self.made(self.wanted, limit, precision)
            if plan.fits():
                return replace(plan, choices=(f"The network computes in {precision}, to fit into memory",))
        seen = usual.network_voxels
        while not self._network_fits(plan) and limit > LEAST_VOXELS:
            limit = max(LEAST_VOXELS, int(limit / FINER))
            plan = self.made(self.wanted, limit, plan.precision)
        if plan.network_voxels < seen:
            said.append(
                f"The network sees {plan.network_voxels:,} voxels at once instead of {seen:,}, to fit into memory"
            )
        if plan.fits():
            return replace(plan, choices=tuple(said))
        coarser = None if self.config.spacing is not None else self._coarser(limit, plan.precision)
        if coarser is None:
            return usual
        return replace(coarser, choices=(*said, _why_coarser(usual)))

    def cramps(self, plan: MemoryPlan) -> bool:
        """Whether a plan does not fit, or only on less than a quarter of the grid that is wanted."""
        return not plan.fits() or math.prod(plan.working.shape) < math.prod(self.wanted.shape) / 4

    def _network_fits(self, plan: MemoryPlan) -> bool:
        needs = [need for need in plan.needs if need.name == "network"]
        return not plan.network or all(need.bytes <= USED * plan.free_on(need.device) for need in needs)

    def _coarser(self, limit: int, precision: str) -> MemoryPlan | None:
        """Return the plan with the finest working grid that fits, if there is a useful one."""
        voxels = math.prod(self.wanted.shape)
        while (voxels := int(voxels / FINER)) >= LEAST_VOXELS:
            plan = self.made(working_grid(self.fixed, None, voxels)[0], limit, precision, voxels)
            if plan.fits():
                return plan
        return None

    def made(self, working: Grid, limit: int, precision: str, budget: int = VOXEL_BUDGET) -> MemoryPlan:
        """Return the plan for a working grid on which the network sees at most `limit` voxels at once."""
        network, tile = self._seen(working, limit)
        needs = self._needs(working, network, tile, precision)
        return MemoryPlan(self.device, precision, working, network, tile, limit, budget, needs, self.free)

    def _seen(self, working: Grid, limit: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape on which the network sees the whole image, and that of its tiles."""
        config, model = self.config, self.model
        if model is None or config.instance.mode == "network":
            return (), ()
        network = network_grid(working, limit, model.multiple).shape
        wanted = config.tiles == "on" or (config.tiles == "auto" and config.instance.mode == "none")
        tile = tile_shape(working.shape, limit, model.multiple)
        if not wanted or math.prod(working.shape) <= limit or tile == working.shape:
            return network, ()
        return network, tile

    def _needs(
        self, working: Grid, network: tuple[int, ...], tile: tuple[int, ...], precision: str
    ) -> tuple[StageNeed, ...]:
        config, ndim, device = self.config, working.ndim, self.device
        voxels = math.prod(working.shape)
        whole = math.prod(self.fixed.shape), math.prod(self.moving.shape)
        held = (8 + 8 * ndim) * voxels  # both images and both fields
        forward = refining = held
        if network and self.model is not None:
            # the fields, too, while they are brought to the working grid
            forward += self._counted(network, config.keep_levels, precision) + 8 * ndim * voxels
        if tile and self.model is not None:
            tiles = self._counted(tile, False, precision) + TILED_BYTES[ndim] * voxels
            forward = max(forward, tiles)
        if config.instance.mode == "network":
            refining = self._fit(working.shape)
        elif config.instance.mode == "field":
            refining = self._field(working, bool(network))
        amounts = {
            "preprocess": (whole_bytes("preprocess", *whole) + 8 * voxels, CPU),
            "network": (forward, device),
            "instance": (refining, device),
            "transform": (whole_bytes("transform", *whole) + held, CPU),
            "evaluate": (whole_bytes("evaluate", *whole) + held, CPU),
        }
        return tuple(StageNeed(name, int(amount), where) for name, (amount, where) in amounts.items())

    def _field(self, working: Grid, guessed: bool) -> int:
        settings, voxels = self.config.instance, math.prod(working.shape)
        searched = search_tables(working.shape, working.spacing.tolist(), settings.search)
        apart = settings.control or control_factor(voxels)
        return field_bytes(working.ndim, voxels, apart, settings.points, searched, guessed)

    def _counted(self, shape: Sequence[int], keep_levels: bool, precision: str) -> int:
        assert self.model is not None
        return pass_bytes(self.model, shape, self.device, keep_levels, precision)

    def _fit(self, shape: tuple[int, ...]) -> int:
        return fit_bytes(self.model, self.config, shape, self.device)


def _why_coarser(usual: MemoryPlan) -> str:
    need, wanted = usual.tightest, math.prod(usual.working.shape)
    millions = f"{wanted / 1e6:.2g} million voxels"
    return (
        f"The working grid is coarser than usual, to fit into memory: {millions} need about "
        f"{_gib(need.bytes)}, {_gib(usual.free_on(need.device))} are free on {describe_device(need.device)}"
    )


def _gib(number: float) -> str:
    return f"{number / 2**30:.2g} GiB" if number < 10 * 2**30 else f"{number / 2**30:.0f} GiB"
