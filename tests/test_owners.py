"""One process at a time works in a folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from napari_ran.errors import InputError
from napari_ran.owners import LOCK, locked, running_process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_of_several_that_start_at_once_one_wins(tmp_path: Path) -> None:
    told = tmp_path / "told"
    for _ in range(6):
        start, children = time.monotonic() + 0.05, []
        for _ in range(6):
            child = os.fork()
            if not child:
                code = 2
                try:
                    time.sleep(max(0.0, start - time.monotonic()))
                    with locked(tmp_path / "run"), told.open("a") as file:
                        print("enters", file=file, flush=True)
                        time.sleep(0.05)
                        print("leaves", file=file, flush=True)
                    code = 0
                except InputError:
                    code = 1
                finally:
                    os._exit(code)
            children.append(child)
        codes = {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children}
        assert codes <= {0, 1}
        assert 0 in codes
    words = told.read_text().split()
    assert words == ["enters", "leaves"] * (len(words) // 2)  # never two within
    assert not (tmp_path / "run" / LOCK).exists()


def test_the_error_says_who_and_a_dead_one_does_not_count(tmp_path: Path) -> None:
    with locked(tmp_path, "registering a cohort"):
        assert running_process(tmp_path) == os.getpid()
        with (
            pytest.raises(InputError, match=rf"process {os.getpid()} is registering a cohort in"),
            locked(tmp_path, "registering a cohort"),
        ):
            pytest.fail("it is taken")
    for text in ('{"pid": 1, "started": 0.0}', "", "[" * 5000, '{"pid": 1e400, "started": 0}'):
        (tmp_path / LOCK).write_text(text)
        with locked(tmp_path):
            assert running_process(tmp_path) == os.getpid()
