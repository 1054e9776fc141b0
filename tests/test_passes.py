"""The stage of a run in which the network looks."""

from __future__ import annotations

import napari_ran as ran
from napari_ran.config import RegistrationConfig
from napari_ran.io.checkpoints import load_network, looks_coarsely
from napari_ran.models import create_model

SHAPE = (40, 48, 32)


def test_whether_it_looks_coarsely_is_up_to_the_weights_unless_asked() -> None:
    network, special = load_network("general-3d"), load_network("hippocampus")
    auto, on, off = (RegistrationConfig(coarse_looks=word).coarse_looks for word in ("auto", "on", "off"))
    assert looks_coarsely(network, auto)
    assert not looks_coarsely(special, auto)
    assert not looks_coarsely(create_model("RAN0"), auto)
    assert looks_coarsely(special, on)
    assert not looks_coarsely(network, off)
    assert RegistrationConfig(coarse_looks=True).coarse_looks == "on"  # type: ignore[arg-type]  # as YAML reads it


def test_a_run_tells_of_its_looks() -> None:
    pair = ran.sliding_phantom(shape=SHAPE)
    for coarse, number in (("on", 2), ("off", 1)):
        run = ran.start(pair.fixed, pair.moving, affine="none", instance="none", coarse_looks=coarse)  # type: ignore[arg-type]
        events = [event for event in run if event.stage == "network"]
        assert [event.step for event in events] == list(range(1, 5 * number + 1))
        assert {event.total for event in events} == {5 * number}
        said = [text for text in run.result().report.messages if "each time at what was left" in text]
        assert len(said) == number - 1
