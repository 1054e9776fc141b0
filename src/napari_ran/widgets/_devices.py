"""What can be computed on, for a form."""

from __future__ import annotations

import torch

from napari_ran.device import describe_device, resolve_device


def device_choices() -> list[tuple[str, str]]:
    """Return the devices of this machine: what a setting says and what is read in the form."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    automatic = [("auto", f"auto ({describe_device(resolve_device('auto'))})"), ("cpu", "CPU")]
    return automatic + [(name, describe_device(torch.device(name))) for name in found]
