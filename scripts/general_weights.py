"""Print what the bundled general networks do on generated pairs that no training has seen, or write their files.

python scripts/general_weights.py general-3d general-2d
python scripts/general_weights.py general-3d --trained runs/general-3d/best.safetensors

The second one writes the weights that a training has left, with their card, to the folder of the bundled weights.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from napari_ran import __version__
from napari_ran.config import TrainConfig
from napari_ran.io.checkpoints import ModelCard, TrainedRAN, load_weights, save_weights
from napari_ran.train import HeldOut, evaluate_model

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "src" / "napari_ran" / "weights"
RECIPES = "examples/training"
TEST_SEED = 77_000_001
"""Seed of the pairs that are reported: neither trained on nor used to choose a checkpoint."""


@dataclass(frozen=True)
class Bundled:
    """What the card says of weights, beside the settings of their last part: parts, course and limits."""

    parts: tuple[str, ...]
    course: str
    limits: str

    @property
    def command(self) -> str:
        """The command that trains them."""
        return " ".join(["napari-ran train", *(f"{RECIPES}/{part}.yaml" for part in self.parts), "-o runs"])

    @property
    def recipe(self) -> TrainConfig:
        """The settings of the last part, as the repository has them: no folder of the machine that trained."""
        return TrainConfig.from_yaml(ROOT / RECIPES / f"{self.parts[-1]}.yaml")


LIMITS = "Use it as a start for instance optimisation or fine-tuning; alone, measure what it does on images like yours."
BUNDLED = {
    "general-3d": Bundled(
        ("general-coarse", "general-middle", "general-fine", "general-larger", "general-looks", "general-unlike"),
        "Fifteen minutes with the first three levels, ten with four, fifty with all at about 32x48x32 voxels and sixty "
        "at twice the voxels, on one core of a shared processor; then 800 steps in which it looked from coarse to fine "
        "and 900 more with images that differ as two subjects do, a third of them drawn from 20 label maps of abdomens",
        "Trained on generated pairs of 32x48x32 to 64x48x32 voxels alone, a fifth of them of two unrelated contrasts; "
        "it has never seen a real image. Levels 2 and 4 do the work, levels 0 and 1 move little, so that what moves by "
        f"more than some ten voxels is found on coarser grids only, at which it looks first. {LIMITS}",
    ),
    "general-2d": Bundled(
        ("general-2d-coarse", "general-2d"),
        "1600 steps with the first three levels, then 1200 with all in which it looked from coarse to fine",
        "Trained on generated pairs of 48x80 to 192x192 pixels alone, a fifth of them of two unrelated contrasts; it "
        f"has never seen a real image. {LIMITS}",
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=BUNDLED, metavar="NAME")
    parser.add_argument("--trained", type=Path, metavar="FILE", help="the weights to write under the name")
    parser.add_argument("--pairs", type=int, default=100, help="number of unseen pairs")
    parsed = parser.parse_args()
    if parsed.trained is not None and len(parsed.names) > 1:
        parser.error("--trained is one network's: give one name")
    return parsed


def main() -> None:
    args = arguments()
    for name in args.names:
        model = load_weights(args.trained or name)
        found = evaluate_model(model, BUNDLED[name].recipe.data.generated, TEST_SEED, args.pairs)
        if args.trained is not None:
            save_weights(model, FOLDER / f"{name}.safetensors", card_of(name, model, found))
        report(name, model, found)


def card_of(name: str, model: TrainedRAN, found: HeldOut) -> ModelCard:
    """Return the card of weights that are to be bundled."""
    told = BUNDLED[name]
    changes = {
        "name": name,
        "data": "Generated pairs (napari_ran.synthetic, see recipe); figures on unseen pairs of made-up anatomy, seed "
        f"{TEST_SEED}, looked at from coarse to fine. {told.course}",
        "figures": {key: round(value, 4) for key, value in found.to_dict().items()},
        "command": told.command,
        "limits": told.limits,
        "recipe": told.recipe.to_dict(),
        "version": __version__,
    }
    return ModelCard(**(model.card.to_dict() | changes))


def report(name: str, model: TrainedRAN, found: HeldOut) -> None:
    card = model.card
    print(f"{name}: {card.steps} steps, {card.minutes:g} minutes; {found.pairs} unseen generated pairs")
    print(f"  end-point error  {found.epe:.3f} voxels (identity {found.epe_identity:.3f})")
    print(f"  where visible    {found.epe_visible:.3f} voxels (identity {found.epe_visible_identity:.3f})")
    print(f"  mean Dice        {found.dice:.3f} (identity {found.dice_identity:.3f})")
    print(f"  folding          {found.folding_percent:.3f} %; better than the identity in {found.better}")


if __name__ == "__main__":
    main()
