"""The count of what a computation takes, and of what a process holds for it."""

from __future__ import annotations

import math

import pytest
import torch

from napari_ran.config import RegistrationConfig
from napari_ran.counting import COUNTED_ON, fit_bytes, pass_bytes
from napari_ran.footprint import HOLES_GIVEN_BACK, Block, recorded, resident
from napari_ran.memory import give_back_holes, has_glibc
from napari_ran.models import SYSTEMS, create_system

CPU, OTHER = torch.device("cpu"), torch.device("meta")


def test_tensors_are_counted_while_they_live() -> None:
    def compute() -> None:
        first = torch.ones(1_000)  # 4,000 bytes
        view = first.view(10, 100)
        second = view + 1
        del first, view
        torch.zeros(500)
        del second

    ledger = recorded(compute)
    assert ledger.peak == 8_000
    assert ledger.live == 0
    assert sum(block.size if block.taken else -block.size for block in ledger.blocks) == 0


def test_what_was_there_before_and_what_is_changed_in_place_is_not_counted() -> None:
    given = torch.ones(1_000)
    assert recorded(lambda: given.add_(1)).peak == 0


def test_gradients_are_counted() -> None:
    weight = torch.ones(1_000, requires_grad=True)
    ledger = recorded(lambda: (weight * 2).exp().sum().backward())
    assert ledger.peak >= 8_000
    assert ledger.live == 4_000  # the gradient stays with its owner


def test_a_process_holds_the_holes_too() -> None:
    blocks = [Block(0, 1_000, True), Block(1, 1_000, True), Block(0, 1_000, False), Block(2, 1_500, True)]
    header = 16  # before each block
    assert resident(blocks, largest=9_999) == 3_500 + 3 * header  # 1500 do not fit into the hole of 1000
    assert resident(blocks, largest=0) == 2_500  # given by the system, which takes back what is freed
    assert resident([*blocks, Block(3, 800, True)], largest=9_999) == 3_500 + 3 * header  # 800 do
    assert resident([*blocks, Block(3, 1_000, True)], largest=9_999) == 4_500 + 4 * header  # no room to align it
    assert resident(blocks, 2.0, largest=9_999) == 7_000 + 3 * header
    joined = [Block(0, 1_000, True), Block(1, 1_000, True), Block(2, 9, True)]
    joined += [Block(0, 1_000, False), Block(1, 1_000, False), Block(3, 1_900, True)]
    assert resident(joined, largest=9_999) == 2_009 + 3 * header


def test_holes_that_are_given_back_are_not_held_until_they_are_filled() -> None:
    header, large = 16, 99_999
    blocks = [Block(0, 1_000, True), Block(1, 500, True), Block(0, 1_000, False), HOLES_GIVEN_BACK]
    after = [*blocks, Block(2, 2_000, True)]  # does not fit
    assert resident(after, largest=large) == 2_500 + 2 * header
    assert resident([*after, Block(3, 400, True)], largest=large) == 2_900 + 3 * header  # a part of the hole
    assert resident([*after, Block(3, 400, True), Block(3, 400, False)], largest=large) == 2_900 + 3 * header
    again = [*after, Block(3, 400, True), Block(3, 400, False), HOLES_GIVEN_BACK, Block(4, 300, True)]
    assert resident(again, largest=large) == 2_900 + 3 * header
    assert resident([*blocks, Block(1, 500, False), Block(5, 4_000, True)], largest=large) == 4_000 + header

    partly = [*blocks[:2], Block(2, 9, True), *blocks[2:], Block(1, 500, False)]  # of this hole a third is held
    partly += [Block(3, 1_000, True), Block(4, 5_000, True)]
    third = 1_016 * 516 // 1_532  # of what is taken from it, as much
    assert resident(partly, largest=large) == 25 + 516 + 1_016 - third + 5_016


def test_a_record_says_where_holes_are_given_back() -> None:
    ledger = recorded(lambda: (torch.ones(5), give_back_holes()))
    assert HOLES_GIVEN_BACK in ledger.blocks
    assert ledger.live == 0


@pytest.mark.parametrize(
    ("name", "shape"),
    # from so many voxels on, this network computes one part after another
    [("RAN3", (160, 208)), ("VM1", (160, 208)), ("DPRn", (160, 208)), ("RAN3", (560, 560)), ("RAN3", (1024, 768))],
)
def test_the_count_of_a_small_grid_says_that_of_another(name: str, shape: tuple[int, int]) -> None:
    network = create_system(name, 2).eval()
    images = torch.rand(2, 1, 1, *shape)
    with torch.no_grad():
        truth = recorded(lambda: network(*images)).peak
    predicted = pass_bytes(network, shape, OTHER) / 1.15
    assert predicted == pytest.approx(truth, rel=0.05)


def test_every_system_has_its_own_count() -> None:
    counts = {name: pass_bytes(create_system(name, 2), COUNTED_ON[2], CPU) for name in ("RAN0", "RAN3", "VM1", "VM2")}
    assert counts["VM2"] > 1.5 * counts["VM1"]
    assert len(set(counts.values())) == len(counts)
    assert set(counts) <= set(SYSTEMS)


def test_what_is_asked_for_decides() -> None:
    network = create_system("RAN3", 2)
    usual = pass_bytes(network, (256, 256), OTHER)
    assert pass_bytes(network, (256, 256), OTHER, keep_levels=True) > usual
    assert pass_bytes(network, (256, 256), OTHER, both=False) < usual
    assert pass_bytes(network, (256, 256), OTHER, precision="bf16") < usual
    assert fit_bytes(network, RegistrationConfig(instance="network"), (256, 256), OTHER) > 4 * usual  # type: ignore[arg-type]
    assert pass_bytes(network, (250, 250), OTHER) == usual  # padded alike
    if has_glibc():
        assert pass_bytes(network, (256, 256), CPU) >= usual / 1.15
    assert all(parameter.grad is None for parameter in network.parameters())
    assert math.prod(COUNTED_ON[3]) == 32**3
