"""``kill -9`` at random moments and at every file operation, and two runs at once: what is there then is whole."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch

import napari_ran as ran
from napari_ran.cases import read_cases
from napari_ran.cohort import finished_outcome
from napari_ran.io.folders import settled
from napari_ran.train.checkpoint import read_checkpoint

from . import samples
from .forks import Forks

QUICK = ran.RegistrationConfig(weights="none", affine="none", device="cpu").replace(  # type: ignore[arg-type]
    instance={"steps": 4, "search": 2, "levels": 1}
)
OTHER = QUICK.replace(instance={"steps": 4, "search": 2, "levels": 1, "smoothness": 5.0})


@dataclass
class Count:
    """Cases tried, and what went wrong in those that did not survive."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def survived(self) -> int:
        """How many survived."""
        return self.tried - len(self.faults)

    def case(self, label: str, *problems: str) -> None:
        """Count a case; empty problems are none."""
        self.tried += 1
        found = [problem for problem in problems if problem]
        if found:
            self.faults.append(f"{label}: {'; '.join(found)}")


@dataclass
class Workplace:
    """A folder with a pair, two settings to register it with, and what either finds."""

    folder: Path
    forks: Forks

    def __post_init__(self) -> None:
        self.files = samples.pair_files(self.folder)
        self.listed = samples.cases_file(self.folder, "cases.csv", 1)
        self.results: dict[str, ran.DisplacementField] = {}
        for name, config in {"quick": QUICK, "other": OTHER}.items():
            config.to_yaml(self.folder / f"{name}.yaml")
            ended = self.forks.run(*self.command(name, self.folder / name))
            assert ended.code == 0, ended.words
            self.results[name] = ran.Transform.load(self.folder / name).field

    def command(self, name: str, out: Path) -> list[str]:
        """Return the command that registers with the settings of a name."""
        pair = [str(self.files["fixed"]), str(self.files["moving"])]
        settings = str(self.folder / f"{name}.yaml")
        labels = ["--moving-labels", str(self.files["moving_labels"])]
        return ["register", *pair, "-o", str(out), "--config", settings, "--quiet", *labels]

    def of_which(self, out: Path) -> str:
        """Return with which settings the whole result in a folder was made, or what is wrong with it."""
        if not out.exists():
            return "nothing"
        try:
            found = ran.Transform.load(out)
            warped = ran.load_image(out / "warped.nii.gz")
            config = ran.RegistrationConfig.from_yaml(out / "settings.yaml")
            disp = ran.io.load_field(out / "disp.nii.gz")
            json.loads((out / "report.json").read_text())
        except (ran.RanError, OSError, ValueError) as error:
            return f"broken ({error})"
        name = "quick" if config == QUICK else "other"
        other = ran.load_image(self.folder / name / "warped.nii.gz")
        same = torch.equal(found.field.tensor, self.results[name].tensor) and np.array_equal(warped.array, other.array)
        return name if same and torch.allclose(disp.tensor, found.field.tensor, atol=1e-3) else "mixed"


def left_behind(folder: Path) -> str:
    """Return the passing files and folders that are left in a folder, as a problem."""
    passing = re.compile(r"\..*-[a-z0-9_]{8}(\.part|\.gone)?")
    found = [str(path.relative_to(folder)) for path in folder.rglob(".*") if passing.fullmatch(path.name)]
    return f"left behind: {', '.join(found)}" if found else ""


def register_killed(place: Workplace, scratch: Path, moments: list[tuple[int | None, float | None]]) -> Count:
    """Kill a registration that replaces an earlier result, at file operations or after seconds, and run it again."""
    count = Count()
    for number, (operation, seconds) in enumerate(moments):
        label, out = f"register killed at {operation or seconds}", scratch / str(number) / "out"
        earlier = number % 3 != 2
        out.parent.mkdir(parents=True)
        if earlier:
            shutil.copytree(place.folder / "other", out)
        place.forks.run(*place.command("quick", out), kill_at=operation, kill_after=seconds, within=str(scratch))
        after = place.of_which(out)
        allowed = ("other", "quick") if earlier else ("nothing", "quick")
        again = place.forks.run(*place.command("quick", out))
        finished = place.of_which(out)
        count.case(
            label,
            "" if after in allowed else f"left {after}",
            "" if again.code == 0 and finished == "quick" else f"the second run: {again.words} {finished}",
            left_behind(out.parent),
        )
    return count


def pair_killed(place: Workplace, scratch: Path, moments: list[int]) -> Count:
    """Kill a cohort's pair whose earlier result had other settings, at file operations."""
    count = Count()
    (case,) = read_cases(place.listed)
    command = ["pair", str(place.listed)]
    place.forks.run(*command, str(scratch / "other"), str(place.folder / "other.yaml"))
    for operation in moments:
        root = shutil.copytree(scratch / "other", scratch / str(operation))
        place.forks.run(*command, str(root), str(place.folder / "quick.yaml"), kill_at=operation, within=str(scratch))
        kept = [name for name, config in (("quick", QUICK), ("other", OTHER)) if finished_outcome(case, root, config)]
        (folder,) = (path for path in (root / "pairs").iterdir() if not path.name.startswith("."))
        found = place.of_which(settled(folder))
        agree = len(kept) == 1 and found == kept[0]
        count.case(f"pair killed at {operation}", "" if agree else f"the record says {kept}, the files are {found}")
    return count


def train_killed(forks: Forks, scratch: Path, moments: list[tuple[int | None, float | None]], steps: int = 6) -> Count:
    """Kill a training and resume it: it ends with the weights and the log of one that was not killed."""
    count = Count()
    settings = scratch / "train.yaml"
    scratch.mkdir(parents=True, exist_ok=True)
    samples.tiny_training(budget={"steps": steps}, validation={"every": 3, "save_every": 1, "pairs": 1}).to_yaml(
        settings
    )
    command = ["train", str(settings), "--quiet", "--resume", "-o"]
    ended = forks.run(*command, str(scratch / "whole"))
    assert ended.code == 0, ended.words
    whole = read_checkpoint(scratch / "whole" / "last.ckpt")
    for number, (operation, seconds) in enumerate(moments):
        out = scratch / str(number)
        forks.run(*command, str(out), kill_at=operation, kill_after=seconds, within=str(out))
        again = forks.run(*command, str(out))
        problem = again.words.strip() if again.code else ""
        if not problem:
            found = read_checkpoint(out / "last.ckpt")
            same = all(torch.equal(value, found["average"][name]) for name, value in whole["average"].items())
            with (out / "log.csv").open(encoding="utf-8") as file:
                rows = [int(row["step"]) for row in csv.DictReader(file)]
            ran.load_weights(out / "best.safetensors")
            problem = "" if same else "other weights"
            problem += "" if rows == list(range(1, steps + 1)) else f" the log has steps {rows}"
        count.case(f"training killed at {operation or seconds}", problem)
    return count


def register_twice(place: Workplace, scratch: Path, rounds: int, rng: Random) -> Count:
    """Let two registrations write into one folder at the same time: it is of one of them at the end."""
    count = Count()
    for number in range(rounds):
        out = scratch / str(number) / "out"
        out.parent.mkdir(parents=True)
        if number % 2:
            shutil.copytree(place.folder / "other", out)
        jobs = [
            {"arguments": place.command(name, out), "delay": rng.choice((0, rng.uniform(0, 0.1)))}
            for name in ("quick", "other")
        ]
        ended = place.forks.run_together(jobs)
        found = place.of_which(out)
        refused = [one.words for one in ended if one.code]
        fine = found in ("quick", "other") and not refused
        count.case(f"two registrations, round {number}", "" if fine else f"{found} {refused}", left_behind(out.parent))
    return count


def train_twice(forks: Forks, scratch: Path, rounds: int, rng: Random) -> Count:
    """Start two trainings in one folder at the same time: one is refused and says why, the other is not disturbed."""
    count = Count()
    settings = scratch / "train.yaml"
    scratch.mkdir(parents=True, exist_ok=True)
    samples.tiny_training().to_yaml(settings)
    for number in range(rounds):
        out = scratch / str(number)
        command = ["train", str(settings), "--quiet", "-o", str(out)]
        jobs = [{"arguments": command, "delay": delay} for delay in (0.0, rng.choice((0.0, rng.uniform(0, 0.05))))]
        ended = forks.run_together(jobs)
        codes = sorted(one.code for one in ended)
        words = next((one.words for one in ended if one.code), "")
        clear = "is training in" in words or "holds a training already" in words
        step = read_checkpoint(out / "last.ckpt")["step"] if (out / "last.ckpt").exists() else None
        fine = codes == [0, 2] and clear and step == 3
        count.case(f"two trainings, round {number}", "" if fine else f"{codes} {words.strip()} step {step}")
    return count
