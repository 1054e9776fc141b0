r"""Put trained weights into the package, with a card that says what they are.

python scripts/ship_weights.py runs/hippocampus-fine/best.safetensors --name hippocampus --limits "..." \
    --command "napari-ran train A.yaml -o runs/a && napari-ran train B.yaml -o runs/b" --figure "dice=0.7" ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_ran import __version__
from napari_ran.io.checkpoints import BUNDLED, SUFFIX, load_weights, save_weights

LARGEST = 5_000_000
"""Bytes that one file in the wheel may have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="the best weights of a training")
    parser.add_argument("--name", required=True)
    parser.add_argument("--command", required=True, help="the command that trained them, from the repository")
    parser.add_argument("--limits", required=True, help="what they have not seen or cannot do")
    parser.add_argument("--data", help="what they were trained on, in words")
    parser.add_argument("--licence", help="terms of use")
    parser.add_argument("--figure", action="append", default=[], metavar="NAME=VALUE", help="held-out figures")
    arguments = parser.parse_args()
    model = load_weights(arguments.weights)
    given = {name: value for name in ("data", "licence") if (value := getattr(arguments, name))}
    figures = {name: float(value) for name, value in (item.split("=") for item in arguments.figure)}
    card = model.card.replace(
        name=arguments.name,
        command=arguments.command,
        limits=arguments.limits,
        figures=model.card.figures | figures,
        version=__version__,
        **given,
    )
    target = save_weights(model, BUNDLED / f"{arguments.name}{SUFFIX}", card)
    size = target.stat().st_size
    print(f"{target.name}: {size / 1e6:.2f} MB")
    if size > LARGEST:
        target.unlink()
        raise SystemExit(f"larger than {LARGEST / 1e6:g} MB: not shipped")


if __name__ == "__main__":
    main()
