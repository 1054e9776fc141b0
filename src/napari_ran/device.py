"""Which device to compute on, and whether the work fits into its memory."""

from __future__ import annotations

import sys

import psutil
import torch

from napari_ran.errors import DeviceError

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]


def resolve_device(name: str = "auto") -> torch.device:
    """Return the torch device that a name stands for.

    Parameters
    ----------
    name : str
        ``auto`` picks CUDA, then MPS, then the CPU; otherwise ``cpu``, ``mps``, ``cuda`` or ``cuda:1``.

    Raises
    ------
    DeviceError
        The name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "mps", "cuda"):
        raise DeviceError("device", f"expected auto, cpu, mps, cuda or cuda:N, got '{name}'", "Choose device='auto'")
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if not count:
            raise DeviceError(
                "device", f"'{name}' was asked for but no CUDA GPU is available", "Choose device='auto' or 'cpu'"
            )
        if (device.index or 0) >= count:
            raise DeviceError(
                "device",
                f"'{name}' was asked for but there are {count} CUDA GPUs",
                f"Choose cuda:0 to cuda:{count - 1}",
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "device", "'mps' was asked for but Apple's Metal is not available", "Choose device='auto' or 'cpu'"
        )
    return device


def describe_device(device: torch.device) -> str:
    """Return a device's name for people, such as ``NVIDIA H200 (cuda:0)``."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return {"cpu": "CPU", "mps": "Apple GPU (mps)"}[device.type]


def free_memory(device: torch.device) -> int:
    """Return how many bytes can be allocated on a device now (for MPS and the CPU, the system's available memory)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), _allowed())


def _allowed() -> int:
    """Return how many bytes this process may still take, where a cluster's queue or ``ulimit -v`` limits it."""
    if resource is None:
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(0, limit - int(psutil.Process().memory_info().vms))
