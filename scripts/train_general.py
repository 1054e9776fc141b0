"""Train the bundled general-purpose networks on generated pairs, and print their held-out figures.

python scripts/train_general.py --preset RAN3 --ndim 3 --minutes 60 --out runs/general-3d [--resume]
python scripts/train_general.py --evaluate general-3d --pairs 100
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import yaml

from napari_ran import __version__
from napari_ran.config import PairConfig, TrainConfig
from napari_ran.io.checkpoints import ModelCard, load_weights, save_weights
from napari_ran.models import RAN
from napari_ran.train import TrainFinished, TrainNote, TrainStarted, TrainStep, Validated, evaluate_model, fit

SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {
    # multiples of 16 are not padded inside the network; cubes of 32 are slow on some processors
    3: ((32, 48, 32), (32, 32, 48), (48, 32, 32)),
    2: ((96, 96), (80, 112), (112, 80)),
}
SMALL = ((16, 48, 32), (48, 16, 32), (32, 48, 16), (16, 32, 48), (48, 32, 16))
"""Half the voxels, for the first part of a 3-D training: more steps get it over the plateau sooner."""
TEST_SEED = 77_000_001
"""Seed of the pairs that are reported: neither trained on nor used to choose a checkpoint."""
LIMITS = (
    "Trained for {minutes:.0f} minutes ({steps} steps) on small generated pairs of one contrast with displacements up "
    "to {peak:.0%} of the image's mean side. It has never seen a real image, recovers only a part of the motion, "
    "hardly any slip at sliding boundaries, and moves still images by a fraction of a voxel: use it as a start for "
    "instance optimisation, not alone."
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="RAN3")
    parser.add_argument("--ndim", type=int, choices=(2, 3), default=3)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("runs/general-3d"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--small", action="store_true", help="thin 3-D images: half the voxels, twice the steps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as objective.smooth=0.2")
    parser.add_argument("--init", help="name or file of weights to start from")
    parser.add_argument("--name", help="name of the exported weights (default: general-<ndim>d)")
    parser.add_argument("--export", action="store_true", help="only export the best checkpoint of --out")
    parser.add_argument("--evaluate", metavar="WEIGHTS", help="only print the held-out figures of these weights")
    parser.add_argument("--pairs", type=int, default=60, help="number of unseen pairs of the held-out figures")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.evaluate:
        report(args.evaluate, args.pairs)
        return
    if not args.export:
        train(args)
    export(args)


def settings(args: argparse.Namespace) -> TrainConfig:
    config = TrainConfig(
        name=args.name or f"general-{args.ndim}d",
        seed=args.seed,
        model={"preset": args.preset, "ndim": args.ndim, "start": args.init or "scratch", "hold": ()},
        data={"source": "generated", "generated": {"shapes": SMALL if args.small else SHAPES[args.ndim]}},
        objective={"window": 7, "smooth": 0.1, "smoothness": "edges", "field": 1.0, "levels": 0.5, "both": False},
        optimiser={"batch": args.batch or {3: 1, 2: 6}[args.ndim], "method": "adam", "rate": 5e-4},
        compute={"device": args.device},
        budget={"steps": args.steps, "minutes": args.minutes},
    )
    for item in args.set:
        name, text = item.split("=", 1)
        *sections, key = name.split(".")
        change = {key: yaml.safe_load(text)}
        for section in reversed(sections):
            change = {section: change}
        config = config.replace(**change)
    return config


def train(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "scripts/train_general.py", *sys.argv[1:]])
    (args.out / "command.txt").write_text(command + "\n", encoding="utf-8")
    for event in fit(settings(args), args.out, args.resume):
        match event:
            case TrainStarted(identity=found, steps_done=step):
                print(f"from step {step}; identity: epe {found.epe:.3f} dice {found.dice:.3f}", flush=True)
            case TrainStep() if event.step % 20 == 0:
                terms = " ".join(f"{name} {value:.3f}" for name, value in event.terms.items())
                print(
                    f"step {event.step} {event.seconds:.0f} s loss {event.loss:.3f} {terms} "
                    f"gradient {event.gradient:.2f} skipped {event.skipped}",
                    flush=True,
                )
            case Validated(validation=found):
                print(
                    f"  held-out epe {found.epe:.3f} dice {found.dice:.3f} folding {found.folding_percent:.2f} %"
                    f"{' (best)' if event.best else ''}",
                    flush=True,
                )
            case TrainNote(message=message) | TrainFinished(reason=message):
                print(message, flush=True)


def export(args: argparse.Namespace) -> None:
    """Write the best weights with their recipe and their figures on pairs never used before."""
    model = load_weights(args.out / "best.safetensors")
    config = TrainConfig(**model.card.recipe)
    found = evaluate_model(model, config.data.generated, TEST_SEED, args.pairs)
    changes = {
        "name": args.name or f"general-{args.ndim}d",
        "data": "generated pairs (napari_ran.synthetic.generator, see recipe); "
        f"figures on unseen pairs of seed {TEST_SEED}",
        "figures": {key: round(value, 4) for key, value in found.to_dict().items()},
        "command": (args.out / "command.txt").read_text(encoding="utf-8").strip(),
        "limits": LIMITS.format(minutes=model.card.minutes, steps=model.card.steps, peak=config.data.generated.peak[1]),
        "version": __version__,
    }
    card = ModelCard(**(model.card.to_dict() | changes))
    path = args.out / f"{card.name}.safetensors"
    save_weights(model, path, card)
    print(f"{path}: {card.figures}")


def report(weights: str, pairs: int) -> None:
    model: RAN = load_weights(weights)
    pairs_of = model.card.recipe["data"]  # the first weights were trained before there were other sources
    found = evaluate_model(model, PairConfig(**pairs_of.get("generated", pairs_of)), TEST_SEED, pairs)
    print(
        f"{model.card.name}: {model.card.steps} steps, {model.card.minutes:g} minutes; {pairs} unseen generated pairs"
    )
    print(f"  end-point error  {found.epe:.3f} voxels (identity {found.epe_identity:.3f})")
    print(f"  where visible    {found.epe_visible:.3f} voxels (identity {found.epe_visible_identity:.3f})")
    print(f"  mean Dice        {found.dice:.3f} (identity {found.dice_identity:.3f})")
    print(f"  folding          {found.folding_percent:.3f} %; better than the identity in {found.better} of {pairs}")


if __name__ == "__main__":
    main()
