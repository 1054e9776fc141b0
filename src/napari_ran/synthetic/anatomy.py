"""Label maps of generated anatomy: random regions and ellipsoids, or parts of label maps that are given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_ran.synthetic.deformations import centred_grid, column, length, rotation_matrix, spline_noise
from napari_ran.synthetic.records import ObjectRecord, PairRecord, PlacingRecord

WALL = 1.14
"""Outer radius of a cavity's wall relative to the cavity."""


def background(record: PairRecord, canvas: Sequence[int], generator: torch.Generator) -> Tensor:
    """Label map (1, 1, *canvas): 0 outside the body, 1..regions blobs, regions + 1 tubes."""
    scores = spline_noise(canvas, record.region_spacing, record.regions, generator)
    scores = scores + 0.35 * spline_noise(canvas, max(2.0, 0.4 * record.region_spacing), record.regions, generator)
    labels = 1 + _largest(scores)
    lines = spline_noise(canvas, 1.3 * record.region_spacing, 2, generator)
    labels = torch.where(length(lines) < record.tubes, record.regions + 1, labels)
    if record.body:
        radius = length(centred_grid(canvas) / (column(record.shape) * 0.46))
        wavy = radius * (1 + 0.06 * spline_noise(canvas, 0.3 * min(record.shape), 1, generator))
        labels = torch.where(wavy < 1.05, labels, 0)
    return labels


def _largest(scores: Tensor) -> Tensor:
    """Return which channel of (B, C, *S) is largest, (B, 1, *S); several times as fast as argmax on a CPU."""
    best, index = scores[:, :1], torch.zeros_like(scores[:, :1], dtype=torch.long)
    for channel in range(1, scores.shape[1]):
        score = scores[:, channel : channel + 1]
        index = torch.where(score > best, channel, index)
        best = torch.maximum(best, score)
    return index


def ellipsoid(item: ObjectRecord, canvas: Sequence[int]) -> Tensor:
    """Relative radius (1, 1, *canvas): below 1 inside the ellipsoid."""
    local = torch.einsum("ij,bj...->bi...", rotation_matrix(item.angles), centred_grid(canvas) - column(item.centre))
    return length(local / column(item.radii))


def placed(placing: PlacingRecord, label_map: Tensor, canvas: Sequence[int]) -> Tensor:
    """Return the part of a label map (1, 1, *M) that the canvas shows, (1, 1, *canvas), by the nearest voxel.

    Labels are counted 1, 2, ... in the order of ``placing.labels``; outside the map there is 0.
    """
    middle = column([(n - 1) / 2 for n in label_map.shape[2:]])
    sign = column([-1.0 if reflected else 1.0 for reflected in placing.mirror])
    index = (centred_grid(canvas) * placing.scale * sign + column(placing.offset) + middle).round().long()
    last = column([n - 1 for n in label_map.shape[2:]]).long()
    inside = ((index >= 0) & (index <= last)).all(dim=1, keepdim=True)
    index = torch.minimum(index.clamp_min(0), last)
    found = label_map[0, 0].long()[tuple(index[0])][None, None]
    known = torch.tensor(placing.labels)
    number = torch.searchsorted(known, found).clamp_max(len(known) - 1)
    return torch.where(inside & (known[number] == found), number + 1, 0)


def without(labels: Tensor, mask: Tensor) -> Tensor:
    """Return a label map (1, 1, *S) in which a region has been filled from its surroundings."""
    labels, hole = labels.clone(), mask.clone()
    if bool(hole.all()):
        return torch.zeros_like(labels)
    while bool(hole.any()):
        for axis in range(2, labels.ndim):
            for step in (-1, 1):  # wrapping around only brings labels from the far side to the canvas's very border
                beside = torch.roll(hole, step, axis)
                take = hole & ~beside
                labels = torch.where(take, torch.roll(labels, step, axis), labels)
                hole = hole & ~take
    return labels
