from __future__ import annotations

import pytest
import torch

from napari_ran.device import describe_device, free_memory, resolve_device
from napari_ran.errors import DeviceError


def test_auto_picks_what_there_is() -> None:
    device = resolve_device("auto")
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert device.type == expected
    assert describe_device(device)
    assert free_memory(device) > 0


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "xpu"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="expected auto, cpu, mps, cuda or cuda:N"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_refused_with_the_cure() -> None:
    missing = f"cuda:{torch.cuda.device_count()}" if torch.cuda.is_available() else "cuda"
    with pytest.raises(DeviceError, match=r"^device: .*Choose"):
        resolve_device(missing)
    if not torch.backends.mps.is_available():
        with pytest.raises(DeviceError, match="Metal"):
            resolve_device("mps")
