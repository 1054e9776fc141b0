"""From the viewer's layers to pairs that a training can read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from napari.layers import Image, Labels, Layer, Points

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
        "fixed_landmarks": (Points, "Fixed points", "Landmarks on the fixed image, for their distance (TRE) in mm."),
        "moving_landmarks": (Points, "Moving points", "The same landmarks on the moving image, in the same order."),
    }
    OPTIONAL: tuple[str, ...] = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")


class ValidationChoices(PairChoices):
    """The layers of another pair, on which the training is measured; none is guessed."""

    OPTIONAL: tuple[str, ...] = tuple(PairChoices.ROLES)

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
        made = [_converted(source, kinds[number]) for number, source in enumerate(self.sources)]
        return [TrainPair(**{role: made[number] for role, number in pair.items()}) for pair in self.pairs]


def _converted(source: Source, role: str) -> Any:
    kind = role.partition("_")[2]
    return source.labels() if kind == "labels" else source.landmarks() if kind == "landmarks" else source.image()


def chosen_pair(choices: PairChoices, needed: Collection[str] = (), where: str = "") -> LayerPairs:
    """Return the pair that is chosen.

    Parameters
    ----------
    choices : PairChoices
        Where it is chosen.
    needed : collection of str
        What both images must have: ``labels``, ``landmarks``.
    where : str
        Put before the names of the roles in messages.

    Raises
    ------
    InputError
        An image is missing or chosen twice, the numbers of axes differ, something needed is missing, or the numbers of
        landmarks differ.
    """
    layers = {role: layer for role in choices.ROLES if (layer := choices.layer(role)) is not None}
    for role in ("fixed", "moving"):
        if role not in layers:
            raise ran.InputError(where + role, "no image is chosen", "Open two images and choose one here")
    if layers["fixed"] is layers["moving"]:
        problem = f"'{layers['fixed'].name}' is chosen as fixed and as moving image"
        raise ran.InputError(where + "moving", problem, "Choose two different layers")
    _check_axes(list(layers.values()), where)
    for kind in needed:
        if not {f"fixed_{kind}", f"moving_{kind}"} <= layers.keys():
            raise missing(kind)
    counts = [len(layers[role].data) for role in ("fixed_landmarks", "moving_landmarks") if role in layers]
    if len(set(counts)) == 2:
        problem = f"there are {counts[1]} of them, and {counts[0]} on the fixed image"
        raise ran.InputError(where + "moving_landmarks", problem, "Give as many on both images, in the same order")
    return LayerPairs(
        tuple(Source.of(layer, where + role) for role, layer in layers.items()),
        ({role: number for number, role in enumerate(layers)},),
    )


def all_pairs(layers: Sequence[Layer], needed: Collection[str] = ()) -> LayerPairs:
    """Return every ordered pair of the image layers, with the labels and points whose names begin like theirs.

    Points of which two images have different numbers are left out of their pairs, unless they are needed.

    Raises
    ------
    InputError
        There are fewer than two images, their numbers of axes differ, or an image lacks something that is `needed`.
    """
    images = [layer for layer in layers if type(layer) is Image and own_result(layer) is None]
    if len(images) < 2:
        problem = f"there {'is one image' if images else 'are no images'}, and a pair needs two"
        raise ran.InputError("source", problem, "Open another image, or train on generated pairs")
    _check_axes(images)
    found = {
        kind: {image: _named_like(image, layers, type_) for image in images}
        for kind, type_ in (("labels", Labels), ("landmarks", Points))
    }
    for kind in needed:
        if None in found[kind].values():
            raise missing(kind)
    sources: dict[Layer, int] = {}
    pairs = []
    for fixed, moving in permutations(images, 2):
        roles = {"fixed": fixed, "moving": moving}
        for kind, of in found.items():
            one, two = of[fixed], of[moving]
            fit = kind != "landmarks" or kind in needed or (one and two and len(one.data) == len(two.data))
            roles |= {f"fixed_{kind}": one, f"moving_{kind}": two} if one and two and fit else {}
        pairs.append({role: sources.setdefault(layer, len(sources)) for role, layer in roles.items()})
    return LayerPairs(tuple(Source.of(layer, "source") for layer in sources), tuple(pairs))


def _named_like(image: Layer, layers: Sequence[Layer], kind: type) -> Layer | None:
    own: list[Any] = [layer for layer in layers if type(layer) is kind and own_result(layer) is None]
    return next((layer for layer in own if layer.name.startswith(image.name)), None)


def missing(kind: str) -> ran.InputError:
    """Return what to say where labels or landmarks are to guide a training and an image has none."""
    cure = f"Choose {kind} for both images, or set the weight of the {kind} to 0"
    argument = {"labels": "objective.dice", "landmarks": "objective.landmarks"}[kind]
    return ran.InputError(argument, f"{kind} are to guide the training, and an image has none", cure)


def _check_axes(layers: Sequence[Layer], where: str = "") -> None:
    first = layers[0]
    for layer in layers[1:]:
        if layer.ndim != first.ndim:
            problem = f"'{layer.name}' has {layer.ndim} axes and '{first.name}' has {first.ndim}"
            raise ran.InputError(where + "moving", problem, "Choose layers of the same number of axes")
