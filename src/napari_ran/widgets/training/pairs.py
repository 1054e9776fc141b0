"""From the viewer's layers to pairs that a training can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from napari.layers import Image, Labels, Layer

import napari_ran as ran
from napari_ran.train import TrainPair
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._layers import Source, own_result


class PairChoices(LayerChoices):
    """The layers of the one pair to train on."""

    ROLES = {  # noqa: RUF012 (a table, read only)
        "fixed": (Image, "Fixed image", "The image that stays. 2-D or 3-D, one channel."),
        "moving": (Image, "Moving image", "The image that the network learns to bring onto the fixed one."),
        "fixed_labels": (Labels, "Fixed labels", "Labels on the fixed image, for the Dice overlap."),
        "moving_labels": (Labels, "Moving labels", "Labels of the same structures on the moving image."),
    }
    OPTIONAL: tuple[str, ...] = ("fixed_labels", "moving_labels")


class ValidationChoices(PairChoices):
    """The layers of another pair, on which the training is measured; none is guessed."""

    OPTIONAL: tuple[str, ...] = ("fixed", "moving", "fixed_labels", "moving_labels")

    def _guess(self, role: str) -> Layer | None:
        return None


@dataclass(frozen=True, eq=False)
class LayerPairs:
    """Pairs of layers, taken in the GUI thread in no time and converted later in another.

    Attributes
    ----------
    sources : dict
        What each layer holds.
    pairs : tuple of dict
        For each pair, the number of the source in each of its roles.
    """

    sources: tuple[Source, ...]
    pairs: tuple[dict[str, int], ...]

    @property
    def ndim(self) -> int:
        """Number of axes of the images."""
        return len(self.sources[self.pairs[0]["fixed"]].data.shape)

    def convert(self) -> list[TrainPair]:
        """Return the pairs; a layer that occurs in several is converted once."""
        kinds = {number: role for pair in self.pairs for role, number in pair.items()}
        made: list[Any] = [
            source.labels() if kinds[number].endswith("labels") else source.image()
            for number, source in enumerate(self.sources)
        ]
        return [TrainPair(**{role: made[number] for role, number in pair.items()}) for pair in self.pairs]


def chosen_pair(choices: PairChoices, dice: bool, where: str = "") -> LayerPairs:
    """Return the pair that is chosen.

    Parameters
    ----------
    choices : PairChoices
        Where it is chosen.
    dice : bool
        Whether labels of both images are needed.
    where : str
        Put before the names of the roles in messages.

    Raises
    ------
    InputError
        An image is missing or chosen twice, the numbers of axes differ, or labels are missing.
    """
    layers = {role: layer for role in choices.ROLES if (layer := choices.layer(role)) is not None}
    for role in ("fixed", "moving"):
        if role not in layers:
            raise ran.InputError(where + role, "no image is chosen", "Open two images and choose one here")
    if layers["fixed"] is layers["moving"]:
        problem = f"'{layers['fixed'].name}' is chosen as fixed and as moving image"
        raise ran.InputError(where + "moving", problem, "Choose two different layers")
    _check_axes(list(layers.values()), where)
    if dice and not {"fixed_labels", "moving_labels"} <= layers.keys():
        raise no_labels()
    return LayerPairs(
        tuple(Source.of(layer, where + role) for role, layer in layers.items()),
        ({role: number for number, role in enumerate(layers)},),
    )


def all_pairs(layers: Sequence[Layer], dice: bool) -> LayerPairs:
    """Return every ordered pair of the image layers, with the labels layers whose names begin like theirs.

    Raises
    ------
    InputError
        There are fewer than two images, their numbers of axes differ, or labels are needed and an image has none.
    """
    images = [layer for layer in layers if type(layer) is Image and own_result(layer) is None]
    if len(images) < 2:
        problem = f"there {'is one image' if images else 'are no images'}, and a pair needs two"
        raise ran.InputError("source", problem, "Open another image, or train on generated pairs")
    _check_axes(images)
    maps = [layer for layer in layers if type(layer) is Labels and own_result(layer) is None]
    labels = {image: next((one for one in maps if one.name.startswith(image.name)), None) for image in images}
    if dice and None in labels.values():
        raise no_labels()
    chosen = [*images, *{layer for layer in labels.values() if layer is not None}]
    number = {layer: index for index, layer in enumerate(chosen)}
    pairs = []
    for fixed, moving in permutations(images, 2):
        roles = {"fixed": fixed, "moving": moving, "fixed_labels": labels[fixed], "moving_labels": labels[moving]}
        pairs.append({role: number[layer] for role, layer in roles.items() if layer is not None})
    return LayerPairs(tuple(Source.of(layer, "source") for layer in chosen), tuple(pairs))


def no_labels() -> ran.InputError:
    """Return what to say where Dice is asked for and labels are missing."""
    cure = "Choose labels for both images, or set the weight of the labels to 0"
    return ran.InputError("objective.dice", "labels are to guide the training, and an image has none", cure)


def _check_axes(layers: Sequence[Layer], where: str = "") -> None:
    first = layers[0]
    for layer in layers[1:]:
        if layer.ndim != first.ndim:
            problem = f"'{layer.name}' has {layer.ndim} axes and '{first.name}' has {first.ndim}"
            raise ran.InputError(where + "moving", problem, "Choose layers of the same number of axes")
