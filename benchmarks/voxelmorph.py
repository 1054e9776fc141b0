"""Train VoxelMorph as a network of ours is trained: ``python benchmarks/voxelmorph.py CONFIG.yaml -o FOLDER``.

The settings are those of ``napari-ran train``; only the network is another. A run that was stopped goes on. Afterwards
``python benchmarks/networks.py FOLDER/best.ckpt`` measures it beside others.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from napari_ran.config import TrainConfig
from napari_ran.models import VoxelMorph
from napari_ran.train import TrainFinished, TrainNote, TrainStarted, Validated, fit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = TrainConfig.from_yaml(arguments.config)
    resume = (arguments.out / "last.ckpt").exists()
    for event in fit(config, arguments.out, resume, model=VoxelMorph(seed=config.seed)):
        match event:
            case TrainStarted(identity=found):
                print(f"identity: {found}", flush=True)
            case Validated(validation=found):
                spent = time.process_time() / 60
                print(f"step {event.step}, {event.seconds / 60:.1f} min, {spent:.1f} CPU min: {found}", flush=True)
            case TrainNote(message=message) | TrainFinished(reason=message):
                print(message, flush=True)


if __name__ == "__main__":
    main()
