"""A process that damages and reads file after file, and says how each case ended; `fuzz` watches over it.

``python -m faulty.worker FAMILY FOLDER FIRST COUNT``: one line of JSON before every case, and one after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

SPACE = 3 * 2**30
"""Bytes of address space that a worker may take beyond what it has when it starts."""


def main() -> None:
    """Work through the seeds that the command line names."""
    family, folder, first, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    said = os.fdopen(os.dup(1), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # native readers print
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    originals = folder / "sound"
    from .families import FAMILIES

    chosen = FAMILIES[family]
    if not originals.exists():
        (folder / "making").mkdir()
        for name in chosen.names:
            chosen.make(folder / "making", name)
        (folder / "making").rename(originals)
    _limit_space()
    for seed in range(first, first + count):
        print(json.dumps({"begins": seed}), file=said)
        print(json.dumps(_case(family, originals, folder / "damaged", seed)), file=said)


def _limit_space() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPACE, now + SPACE))


def _case(family: str, originals: Path, place: Path, seed: int) -> dict[str, Any]:
    """Damage a copy of one sample and read it: refused in our own words, sound, or a defect."""
    from napari_ran.errors import RanError

    from .families import FAMILIES, UnsoundError, sound
    from .mutations import damaged

    rng = Random(seed)
    names, readers = FAMILIES[family].names, FAMILIES[family].readers
    name, reader = names[seed % len(names)], readers[seed // len(names) % len(readers)]
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(originals, place)
    found: dict[str, Any] = {"seed": seed, "sample": name, "damage": damaged(place / name, rng)}
    try:
        sound(reader(place / name))
        found["end"] = "read"
    except RanError as error:
        found |= {"end": "refused", "words": str(error)[:300]}
        if _ran_out(error):
            found["end"] = "memory"
        elif len(str(error)) > 2000:
            found |= {"end": "words"}
    except UnsoundError as error:
        found |= {"end": "unsound", "words": str(error)[:300]}
    except MemoryError as error:
        found |= {"end": "memory", "words": str(error)[:300]}
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        lines = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in where[-4:]]
        found |= {"end": "exception", "words": f"{type(error).__name__}: {str(error)[:200]} ({' '.join(lines)})"}
    with contextlib.suppress(OSError):
        found["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found


def _ran_out(error: BaseException | None) -> bool:
    """Whether it was memory that had run out, rather than the file that was looked at before."""
    while error is not None:
        words = str(error).lower()
        if isinstance(error, MemoryError) or "bad_alloc" in words or "can't allocate memory" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
