from __future__ import annotations

import subprocess
import sys

import pytest

from napari_ran import memory
from napari_ran.memory import keeping_freed_memory

KEPT = """
import psutil, torch
from napari_ran import memory
from napari_ran.memory import give_back_freed_memory, keeping_freed_memory

resident, held = psutil.Process().memory_info, [torch.ones(2_000_000) for _ in range(2)]
before = resident().rss
with keeping_freed_memory():
    with keeping_freed_memory():  # a run within a run
        held += [torch.ones(2_000_000) for _ in range(60)]  # 8 MB each
        del held[2:]
    kept = resident().rss - before
    give_back_freed_memory()
    between = resident().rss - before
    held += [torch.ones(2_000_000) for _ in range(60)]
    del held[2:]
    again = resident().rss - before
print(kept, between, again, resident().rss - before, memory._holders)
"""


def test_freed_memory_is_kept_for_the_next_step_and_given_back_at_the_end() -> None:
    """In a process of its own: what other tests have freed would be taken first."""
    if memory._glibc() is None:
        pytest.skip("the allocator is not glibc's")
    result = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    kept, between, again, after, holders = map(int, result.stdout.split())
    assert kept > 200e6
    assert between < 0.3 * kept
    assert again > 200e6  # what is freed later is kept again
    assert after < 0.3 * kept
    assert holders == 0


def test_where_the_allocator_is_another_one_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with keeping_freed_memory():
        memory.give_back_freed_memory()
        assert memory._holders == 0


def test_holes_are_given_back_unless_the_same_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: given.append("back"))
    memory.give_back_holes()
    assert given == ["back"]
    with keeping_freed_memory():
        memory.give_back_holes()
        assert given == ["back"] * 2
        with keeping_freed_memory(holes=True), keeping_freed_memory():
            memory.give_back_holes()
            assert given == ["back"] * 2
            with memory.told_of_holes(lambda: given.append("told")):
                memory.give_back_holes()
            assert given.pop() == "told"
        memory.give_back_holes()
        assert given == ["back"] * 3
    assert memory._repeating == 0


def test_a_search_counts_by_its_table_where_that_is_larger() -> None:
    refining = memory.field_bytes(3, 64**3, 1, 100_000)
    assert memory.field_bytes(3, 64**3, 1, 100_000, [(10**3, 125)]) == refining
    small, large = (memory.field_bytes(3, 64**3, 1, 100_000, [(16**3, 729), (64**3, tried)]) for tried in (125, 343))
    assert refining < small
    assert large - small == 4 * 64**3 * (343 - 125)
    assert memory.field_bytes(3, 64**3, 2, 100_000) < refining
