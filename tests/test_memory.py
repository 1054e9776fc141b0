from __future__ import annotations

import psutil
import pytest
import torch

from napari_ran import memory
from napari_ran.memory import keeping_freed_memory


def test_freed_memory_is_kept_for_the_next_step_and_given_back_at_the_end() -> None:
    library = memory._glibc()
    if library is None:
        pytest.skip("the allocator is not glibc's")
    library.malloc_trim(0)  # what other tests have freed would be taken first
    process = psutil.Process()
    before = process.memory_info().rss
    with keeping_freed_memory():
        with keeping_freed_memory():  # a run within a run
            held = [torch.ones(2_000_000) for _ in range(60)]  # 8 MB each
            del held
        kept = process.memory_info().rss - before
        assert kept > 200e6
    assert process.memory_info().rss - before < 0.3 * kept
    assert memory._holders == 0


def test_where_the_allocator_is_another_one_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    with keeping_freed_memory():
        assert memory._holders == 0
