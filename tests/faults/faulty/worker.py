"""A process that damages and reads file after file, and says how each case ended; `fuzz` watches over it.

``python -m faulty.worker FOLDER PLAN``: the plan is JSON, a list of families with the first seed and the number of
cases of each. A line of JSON comes before every case, and one after it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

SPACE = 3 * 2**30
"""Bytes of address space that a worker may take beyond what it has when it starts."""


def main() -> None:
    """Work through the cases that the command line names."""
    folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
    said, errors = os.fdopen(os.dup(1), "w", buffering=1), os.fdopen(os.dup(2), "w", buffering=1)
    sys.excepthook = lambda *found: traceback.print_exception(*found, file=errors)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # native readers print
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)
    samples = {family: _samples(family, folder) for family, _, _ in plan}
    for family, place in samples.items():
        _read_sound(family, place)
    _limit_space()  # once all is loaded that reads
    for family, first, count in plan:
        originals = samples[family]
        for seed in range(first, first + count):
            print(json.dumps({"begins": seed, "family": family}), file=said)
            print(json.dumps(_case(family, originals, folder / "damaged", seed)), file=said)


def _samples(family: str, folder: Path) -> Path:
    """Return the folder with a family's sound samples, made if they are not there."""
    from .families import FAMILIES

    place, making = folder / family.replace(" ", "-"), folder / "making"
    if not place.exists():
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for name in FAMILIES[family].names:
            FAMILIES[family].make(making, name)
        making.rename(place)
    return place


def _read_sound(family: str, place: Path) -> None:
    """Read the first of a family's sound samples in every way, so that the modules for it are loaded."""
    from napari_ran.errors import RanError

    from .families import FAMILIES

    for reader in FAMILIES[family].readers:
        with suppress(RanError):  # a sample by itself may be too little for one of them
            reader(place / FAMILIES[family].names[0])


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
    found: dict[str, Any] = {"family": family, "seed": seed, "damage": f"{name}: {damaged(place / name, rng)}"}
    held = _most_held()
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
    if (more := _most_held() - held) > FAMILIES[family].memory:
        found |= {"end": "memory", "words": f"{more / 2**30:.1f} GiB were taken"}
    return found


def _most_held() -> int:
    """Return the most bytes of memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
