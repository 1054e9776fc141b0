"""The network, and the processes and devices that train it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_ran.config.training import PREVIOUS, ComputeSettings, ModelSettings
from napari_ran.device import resolve_device
from napari_ran.errors import InputError
from napari_ran.io.checkpoints import default_weights, load_network
from napari_ran.models import RAN, SYSTEMS, Ablation, Network, create_model, create_system

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def network_for(settings: ModelSettings, seed: int) -> Network:
    """Return the network of these settings: with random weights from `seed`, or with the weights that they name."""
    if settings.start == PREVIOUS:
        raise InputError(
            "model.start",
            "these settings start from the weights of the part before them, and there is none",
            "Train all parts by one command, napari-ran train FIRST.yaml SECOND.yaml -o FOLDER, or name the weights",
        )
    if settings.start != "scratch":
        general = default_weights(settings.ndim) if settings.start == "auto" else None
        return load_network(general or settings.start)
    if settings.structure is not None:
        return create_model(settings.structure, seed=seed)
    if settings.preset in SYSTEMS:
        return create_system(settings.preset, settings.ndim, seed)
    return create_model(settings.preset, settings.ndim, seed)


def parts_to_hold(network: nn.Module, settings: ModelSettings) -> tuple[str, ...]:
    """Return the parts that the settings hold; only a `RAN` has a last convolution behind its levels."""
    return tuple(part for part in settings.hold if isinstance(network, RAN) or part != "displacement")


def held(network: nn.Module, parts: Sequence[str]) -> nn.Module:
    """Return the network with those weights held whose names begin with one of `parts`; the rest can be trained.

    Raises
    ------
    InputError
        A part is not there, or nothing would be left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    for part in parts:
        if not any(name.startswith(part) for name in names):
            known = ", ".join(dict.fromkeys(name.split(".")[0] for name in names))
            raise InputError("model.hold", f"there is no part {part!r}", f"Parts are {known}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(parts)))
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError("model.hold", "nothing is left to train", "Hold fewer parts")
    return network


def first_levels(network: nn.Module, levels: int | None) -> tuple[dict[str, Ablation], tuple[str, ...]]:
    """Return what a network is called with to stop after so many levels, and the parts that are held meanwhile.

    Raises
    ------
    InputError
        The network has no levels, or fewer.
    """
    if levels is None:
        return {}, ()
    if not isinstance(network, RAN):
        raise InputError("model.levels", f"a {type(network).__name__} has no levels to leave out", "Leave it empty")
    there = network.config.levels
    if levels > there:
        raise InputError("model.levels", f"the network has {there}, got {levels}", "Give fewer or leave it empty")
    off = [f"{part}.{level}." for level in range(levels, there) for part in ("decoders", "aligners")]
    return {"ablation": Ablation.after(levels, there)}, (*off, "displacement")


def laid_out(network: nn.Module, channels_last: bool) -> nn.Module:
    """Return the network with its convolutions' weights in the layout that is fast on most processors."""
    if not channels_last:
        return network
    ranks = {parameter.ndim for parameter in network.parameters()}
    layout = torch.channels_last_3d if 5 in ranks else torch.channels_last
    converted: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
    return converted


def fabric_for(settings: ComputeSettings) -> Fabric:
    """Return the started Fabric: device, precision, and this process's place among the others.

    torchrun and ``fabric run`` say how many processes there are; otherwise, with more than one device, this starts the
    others by running the same command again.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would say is in the settings
    device = resolve_device(settings.device)
    if settings.precision == "fp16" and device.type == "cpu":
        raise InputError("compute.precision", "fp16 is slow and too coarse on a CPU", "Use bf16 or fp32")
    devices, nodes = _processes(settings)
    options: dict[str, Any] = {"accelerator": device.type, "precision": _PRECISION[settings.precision]}
    if devices * nodes > 1:
        backend = "gloo" if device.type == "cpu" else None
        options |= {"devices": devices, "num_nodes": nodes}
        options["strategy"] = DDPStrategy(process_group_backend=backend)
    elif device.type == "cpu":
        options["devices"] = 1
    else:
        options["devices"] = [device.index or 0]
    fabric = Fabric(**options)
    fabric.launch()
    return fabric


def _processes(settings: ComputeSettings) -> tuple[int, int]:
    """Return the number of processes on this machine and of machines."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    if os.environ.get("LT_CLI_USED") == "1":  # fabric run
        listed = os.environ.get("LT_DEVICES", "1")
        devices = int(listed) if listed.isdigit() else len(listed.split(","))
        return devices, int(os.environ.get("LT_NUM_NODES", "1"))
    return settings.devices, settings.nodes
