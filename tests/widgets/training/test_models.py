"""The cards of the Models page."""

from __future__ import annotations

from napari_ran.io.checkpoints import ModelCard, load_weights
from napari_ran.widgets.training.models import card_text, figures_of


def test_figures_are_in_words_beside_those_of_doing_nothing() -> None:
    figures = {"pairs": 1200.0, "epe": 1.23456, "epe_identity": 2.0, "speed": 0.5, "dice_identity": 0.25}
    card = ModelCard(name="a", preset="RAN3", ndim=3, figures=figures)
    assert figures_of(card) == [
        "End-point error (voxels) 1.23, doing nothing 2",
        "Pairs measured 1,200",
        "speed 0.5",
        "dice identity 0.25",
    ]


def test_a_card_names_what_it_has_and_is_safe_to_show() -> None:
    card = ModelCard(name="a", preset="custom", ndim=2, data="<b>mine</b> & yours", steps=12_000, minutes=3.5)
    text = card_text(card)
    assert "custom, 2-D" in text
    assert "&lt;b&gt;mine&lt;/b&gt; &amp; yours" in text
    assert "12,000 steps, 3.5 minutes" in text
    assert "Measured" not in text


def test_every_figure_of_the_bundled_models_has_words() -> None:
    for name in ("general-2d", "general-3d", "hippocampus"):
        for line in figures_of(load_weights(name).card):
            assert line[0].isupper(), line
