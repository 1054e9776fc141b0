"""Compiling a network's blocks: the same fields, and one clear error where it cannot be done."""

from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.models import RAN, create_system
from napari_ran.models.compiled import compile_blocks

SMALL = RANConfig(
    ndim=2,
    encoder_channels=(4, 4),
    decoder_channels=(4, 4),
    pools=(2, 1),
    dilations=(1, 1),
    skips=((2,), (1,)),
    skip_channels=4,
    heads=2,
    regressor_width=4,
    head_width=4,
)

WITHOUT_COMPILER = """
import torch
from napari_ran.errors import InputError
from napari_ran.models import create_system
from napari_ran.models.compiled import compile_blocks
network = create_system("RAN0", 2)
try:
    compile_blocks(network, torch.device("cpu"))
except InputError as error:
    print(error)
images = torch.rand(2, 1, 1, 32, 32)
assert network(*images).field.isfinite().all()
"""


def compiled_parts(network: torch.nn.Module) -> int:
    return sum(part._compiled_call_impl is not None for part in network.modules())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="there is no compiler")
def test_a_compiled_network_finds_the_same_fields() -> None:
    network = RAN(SMALL).eval()
    plain = copy.deepcopy(network)
    compile_blocks(network, torch.device("cpu"))
    assert compiled_parts(network) == 6  # an encoder's and a decoder's block, and a regressor, for each of two levels
    with torch.no_grad():
        for shape in ((24, 32), (32, 40), (20, 28)):
            images = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
            torch.testing.assert_close(network(*images).field, plain(*images).field, rtol=0, atol=1e-5)
    assert compiled_parts(copy.deepcopy(network)) == 0


def test_a_network_without_blocks_is_refused() -> None:
    with pytest.raises(InputError, match=r"compile: this network has no blocks to compile.*Switch it off"):
        compile_blocks(create_system("VM1", 2), torch.device("cpu"))


def test_without_a_compiler_one_sentence_says_so_and_the_network_stays_as_it_was(tmp_path: Path) -> None:
    environment = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PATH": "/nowhere"}
    run = [sys.executable, "-c", WITHOUT_COMPILER]
    result = subprocess.run(run, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.startswith("compile: PyTorch cannot compile for cpu here")
    assert "install a C++ compiler" in result.stdout
