from __future__ import annotations

from typing import Any

import numpy as np

from napari_ran.widgets._combos import LayerChoices


def image(viewer: Any, name: str, ndim: int = 2) -> Any:
    return viewer.add_image(np.arange(4.0**ndim).reshape((4,) * ndim), name=name)


def names(choices: LayerChoices, role: str) -> list[str]:
    box = choices.boxes[role]
    return [box.itemText(index) for index in range(box.count())]


def test_the_first_two_images_are_taken(viewer: Any, choices: LayerChoices) -> None:
    assert choices.layer("fixed") is None
    first, second = image(viewer, "a"), image(viewer, "b")
    assert (choices.layer("fixed"), choices.layer("moving")) == (first, second)


def test_names_tell_the_sides(viewer: Any, choices: LayerChoices) -> None:
    moving, fixed = image(viewer, "Moving scan"), image(viewer, "the fixed one")
    labels = viewer.add_labels(np.zeros((4, 4), int), name="moving organs")
    assert (choices.layer("fixed"), choices.layer("moving")) == (fixed, moving)
    assert choices.layer("moving_labels") is labels
    assert choices.layer("fixed_labels") is None


def test_a_choice_survives_insertion_renaming_and_reordering(viewer: Any, choices: LayerChoices) -> None:
    first, second, third = (image(viewer, name) for name in "abc")
    choices.choose("fixed", third)
    choices.choose("moving", first)
    image(viewer, "fixed later")
    third.name = "renamed"
    viewer.layers.move(0, 4)
    assert (choices.layer("fixed"), choices.layer("moving")) == (third, first)
    assert "renamed" in names(choices, "fixed")
    assert second.name in names(choices, "moving")


def test_a_removed_layer_is_no_longer_chosen(viewer: Any, choices: LayerChoices) -> None:
    image(viewer, "a")
    second = image(viewer, "b")
    viewer.layers.remove(second)
    assert names(choices, "moving") == ["a"]
    assert choices.layer("moving") is not second


def test_a_choice_that_is_gone_makes_room_for_a_new_pair(viewer: Any, choices: LayerChoices) -> None:
    first, second = image(viewer, "fixed a"), image(viewer, "moving a")
    labels = viewer.add_labels(np.zeros((4, 4), int), name="moving organs")
    choices.choose("fixed", second)
    choices.choose("moving", first)
    choices.choose("moving_labels", labels)
    choices.choose("fixed_labels", None)
    viewer.layers.clear()
    fixed, moving = image(viewer, "fixed b"), image(viewer, "moving b")
    labels = viewer.add_labels(np.zeros((4, 4), int), name="moving organs b")
    viewer.add_labels(np.zeros((4, 4), int), name="fixed organs b")
    assert (choices.layer("fixed"), choices.layer("moving")) == (fixed, moving)
    assert choices.layer("moving_labels") is labels
    assert choices.layer("fixed_labels") is None  # none was chosen on purpose


def test_only_the_fitting_type_is_offered(viewer: Any, choices: LayerChoices) -> None:
    image(viewer, "a")
    viewer.add_labels(np.zeros((4, 4), int), name="l")
    viewer.add_points(np.zeros((2, 2)), name="p")
    assert names(choices, "fixed") == ["a"]
    assert names(choices, "fixed_labels") == ["none", "l"]
    assert names(choices, "moving_landmarks") == ["none", "p"]


def test_swap_exchanges_everything(viewer: Any, choices: LayerChoices) -> None:
    fixed, moving = image(viewer, "fixed"), image(viewer, "moving")
    labels = viewer.add_labels(np.zeros((4, 4), int), name="moving organs")
    choices.swap()
    assert (choices.layer("fixed"), choices.layer("moving")) == (moving, fixed)
    assert (choices.layer("fixed_labels"), choices.layer("moving_labels")) == (labels, None)


def test_nothing_is_heard_after_letting_go(viewer: Any, choices: LayerChoices) -> None:
    layer = image(viewer, "a")
    choices.follow_viewer(False)
    layer.name = "b"
    image(viewer, "c")
    assert names(choices, "fixed") == ["a"]
