"""Labels that lead the fit."""

from __future__ import annotations

import pytest
import torch

import napari_ran as ran
from napari_ran.data import Labels
from napari_ran.errors import InputError
from napari_ran.evaluate import dice
from napari_ran.instance import LabelGuide
from napari_ran.instance import overlap as module


def _squares(shift: int, shape: tuple[int, ...] = (24, 30)) -> torch.Tensor:
    labels = torch.zeros((1, 1, *shape), dtype=torch.int32)
    labels[..., 4 + shift : 12 + shift, 4:12] = 3
    labels[..., 14:20, 16:26] = 8
    return labels


def test_the_overlap_is_that_of_the_labels_and_pulls_them_together() -> None:
    guide = LabelGuide(_squares(0), _squares(2), (2.0, 1.0), weight=3.0)
    assert guide.common == [3, 8]
    control = torch.zeros(1, 2, 24, 30, requires_grad=True)
    assert guide.measure(control) == pytest.approx((0.75 + 1) / 2)
    loss = guide(control)
    assert float(loss.detach()) == pytest.approx(3 * 0.125)
    loss.backward()
    assert control.grad is not None
    assert float(control.grad[0, 0, 4:12, 4:12].sum()) < 0  # further along the first axis
    moved = torch.zeros(1, 2, 24, 30)
    moved[0, 0, :14, :14] = 4.0  # two voxels of 2 mm
    assert guide.measure(moved) == pytest.approx(1.0)


def test_a_fine_grid_is_compared_on_a_coarser_one(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = LabelGuide(_squares(0), _squares(0), (1.0, 1.0), 1.0)
    monkeypatch.setattr(module, "MOST_VOXELS", 200)
    assert guide.measure(torch.zeros(1, 2, 24, 30)) == pytest.approx(1.0)
    assert all(a * b <= 200 for a, b in guide._resized)


def test_labels_lead_where_the_images_say_nothing() -> None:
    """A region that only the labels know: the images are two equal discs."""
    grid = ran.Grid.from_spacing((48, 48), (2.0, 1.0))
    x = torch.stack(torch.meshgrid(*[torch.arange(48.0) - 23.5] * 2, indexing="ij"))
    image = ran.Image((x.square().sum(0).sqrt() < 18).float()[None] * 100, grid, "disc")
    maps = [torch.zeros((48, 48), dtype=torch.int32) for _ in range(2)]
    maps[0][18:26, 18:30] = maps[1][21:29, 18:30] = 4
    given = {"fixed_labels": Labels(maps[0], grid), "moving_labels": Labels(maps[1], grid)}
    settings = {"weights": "none", "affine": "none", "instance": {"similarity": "mse", "labels": 2.0}}
    run = ran.start(image, ran.Image(image.tensor, grid, "same"), **given, **settings)
    seen = [event.metrics["labels (Dice)"] for event in run if "labels (Dice)" in event.metrics]
    result = run.result()
    assert result.warped_labels is not None
    before = dice(given["fixed_labels"], given["moving_labels"])[4]
    after = dice(given["fixed_labels"], result.warped_labels)[4]
    assert before == pytest.approx(0.625)
    assert after > 0.85
    assert seen[-1] > seen[0] + 0.2
    assert result.report.folding_percent == 0
    assert any("their Dice is no measure" in message for message in result.report.messages)


def test_labels_that_cannot_lead_are_refused() -> None:
    made = ran.phantom_2d()
    with pytest.raises(InputError, match=r"instance\.labels: there are no labels of both images"):
        ran.start(made.fixed, made.moving, fixed_labels=made.fixed_labels, instance={"labels": 1})
    given = {"fixed_labels": made.fixed_labels, "moving_labels": made.moving_labels}
    with pytest.raises(InputError, match="lead the mode 'field' only"):
        ran.start(made.fixed, made.moving, **given, instance={"labels": 1, "mode": "none"})
    given["moving_labels"] = Labels((made.moving_labels.tensor > 0).int() * 99, made.moving.grid)
    with pytest.raises(InputError, match="no label in common"):
        ran.start(made.fixed, made.moving, **given, instance={"labels": 1})
