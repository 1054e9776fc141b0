"""Which head follows which organ: mutual information between head masks and labels, against a control.

A level's masks are probabilities: draw a voxel, then a head by its mask there. The head and the voxel's label are two
random variables with the joint distribution ``P(h, l) = mean over voxels of mask_h [label = l]``, and their mutual
information says how much one tells of the other. It is divided by the entropy of the label: 1 means that the head gives
the label away.

The control keeps everything but the place: labels are moved by random steps along the axes of the image and continued
beyond its border by their mirror image, so that nothing is torn. Shuffling voxel by voxel would be far too easy to
beat: masks and labels are both smooth, and two smooth maps that know nothing of each other share much more information
than a smooth one and noise. Whatever tears labels apart is too easy as well. Of independent smooth maps one in twenty
should be above a control at the level of 5 percent; 12 of 20 were with blocks in random order, 10 of 60 with labels
that come in again on the other side, and 0 of 60 with mirrored ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.errors import InputError


@dataclass(frozen=True, eq=False)
class HeadInformation:
    """How much the heads of one level tell of the labels.

    Attributes
    ----------
    labels : (L,) array
        Label values; 0 is the background.
    joint : (M, L) array
        Probability of head and label.
    information : float
        Mutual information of head and label divided by the label's entropy, 0 to 1.
    per_head : (M,) array
        The same for "this head or another one".
    control : (n,) array
        `information` with moved labels.
    control_per_head : (n, M) array
        `per_head` with moved labels.
    """

    labels: NDArray[np.int64]
    joint: NDArray[np.float64]
    information: float
    per_head: NDArray[np.float64]
    control: NDArray[np.float64]
    control_per_head: NDArray[np.float64]

    @property
    def p_value(self) -> float:
        """Share of the control, the found value among it, that is at least as large."""
        return float(_rank(np.array([self.information]), self.control[:, None])[0])

    @property
    def p_value_per_head(self) -> NDArray[np.float64]:
        """The same for each head, (M,)."""
        return _rank(self.per_head, self.control_per_head)

    @property
    def head_given_label(self) -> NDArray[np.float64]:
        """Probability of a head inside a label, (M, L); columns sum to one."""
        return np.asarray(self.joint / self.joint.sum(0, keepdims=True))

    @property
    def lift(self) -> NDArray[np.float64]:
        """How many times more a head counts inside a label than on average, (M, L); 1 means it does not care."""
        independent = self.joint.sum(1, keepdims=True) * self.joint.sum(0, keepdims=True)
        return np.asarray(self.joint / np.maximum(independent, 1e-300))

    @property
    def leading_head(self) -> NDArray[np.int64]:
        """The head that counts most inside each label, compared with its average, (L,)."""
        return np.asarray(self.lift.argmax(axis=0))


def head_organ_information(
    masks: Tensor,
    labels: Tensor,
    pool_size: int = 1,
    shuffles: int = 20,
    seed: int = 0,
    background: bool = True,
) -> HeadInformation:
    """Measure how much the masks of one level tell of the labels.

    Parameters
    ----------
    masks : (M, *S_k) tensor
        Masks of the heads on the level's grid; they sum to one at every voxel.
    labels : (*S) integer tensor
        On the image's grid. A level's voxel counts for all labels inside it, in their shares.
    pool_size : int
        Voxel size of the level in voxels of the image.
    shuffles : int
        Size of the control.
    seed : int
        Of the control.
    background : bool
        Count what has no label as one more; without, only voxels with a label count.

    Raises
    ------
    InputError
        The shapes do not belong together, or there are fewer than two labels to tell apart.
    """
    shape = tuple(masks.shape[1:])
    if tuple(-(-n // pool_size) for n in labels.shape) != shape:
        raise InputError(
            "labels",
            f"{tuple(labels.shape)} voxels do not make {shape} voxels of a level with pool size {pool_size}",
            "Give the labels on the grid of the network's images",
        )
    values = np.unique(labels.cpu().numpy())
    values = values if background else values[values != 0]
    if len(values) < 2:
        raise InputError("labels", "there are fewer than two labels to tell apart", "Give labels of several organs")
    shares = _shares(labels.cpu(), values, pool_size, shape)
    flat = masks.detach().cpu().float().flatten(1)
    generator = np.random.default_rng(seed)
    joint = _joint(flat, shares)
    moved = [_joint(flat, _moved(shares, generator)) for _ in range(shuffles)]
    return HeadInformation(
        labels=values.astype(np.int64),
        joint=joint,
        information=_normalised_information(joint),
        per_head=_per_head(joint),
        control=np.array([_normalised_information(one) for one in moved]),
        control_per_head=np.array([_per_head(one) for one in moved]).reshape(shuffles, len(joint)),
    )


def _shares(labels: Tensor, values: NDArray[np.int64], pool_size: int, shape: tuple[int, ...]) -> Tensor:
    """Return how many image voxels of each label lie in each voxel of the level, (L, *S_k)."""
    pool = {1: torch.nn.functional.avg_pool1d, 2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}
    pads = [p for n, m in zip(reversed(labels.shape), reversed(shape), strict=True) for p in (0, m * pool_size - n)]
    parts = []
    for value in values:
        part = torch.nn.functional.pad((labels == int(value)).float(), pads)
        parts.append(pool[labels.ndim](part[None], pool_size)[0] if pool_size > 1 else part)
    return torch.stack(parts)


def _joint(masks: Tensor, shares: Tensor) -> NDArray[np.float64]:
    """Return the joint probability (M, L) of masks (M, N) and label shares (L, *S_k)."""
    joint = (masks @ shares.flatten(1).T).double().numpy()
    return np.asarray(joint / joint.sum())


def _moved(shares: Tensor, generator: np.random.Generator) -> Tensor:
    """Move (L, *S) along the axes, mirrored at the border; along at least one by a quarter of it.

    A small move is hardly a control. A long one, of up to twice the axis, turns the labels round.
    """
    shape = shares.shape[1:]
    while True:
        steps = [int(generator.integers(2 * n)) for n in shape]
        if any(min(step, 2 * n - step) >= n / 4 for step, n in zip(steps, shape, strict=True)):
            break
    for axis, (step, n) in enumerate(zip(steps, shape, strict=True)):
        place = (torch.arange(n) + step) % (2 * n)
        shares = shares.index_select(axis + 1, torch.minimum(place, 2 * n - 1 - place))
    return shares


def _normalised_information(joint: NDArray[np.float64]) -> float:
    rows, columns = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    known = joint > 0
    information = float((joint[known] * np.log(joint[known] / (rows * columns)[known])).sum())
    entropy = -float((columns[columns > 0] * np.log(columns[columns > 0])).sum())
    return max(0.0, information) / entropy if entropy > 0 else 0.0


def _per_head(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    total = joint.sum(0)
    return np.array([_normalised_information(np.stack([row, total - row]).clip(min=0)) for row in joint])


def _rank(found: NDArray[np.float64], control: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((1 + (control >= found).sum(axis=0)) / (1 + len(control)))
