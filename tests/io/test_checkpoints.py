from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_ran import InputError
from napari_ran.config import RANConfig
from napari_ran.errors import OutputError
from napari_ran.io import checkpoints
from napari_ran.io.checkpoints import (
    ModelCard,
    available_weights,
    default_weights,
    load_network,
    load_weights,
    save_weights,
)
from napari_ran.models import RAN, PairNetwork, create_model, create_system

CARD = ModelCard(name="tiny", preset="RAN3", ndim=2, steps=7, figures={"epe": 0.5}, limits="Made for a test.")


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "user"
    monkeypatch.setattr(checkpoints, "user_weights", lambda: folder)
    return folder


def tiny() -> RAN:
    config = RANConfig.preset("RAN3", 2).replace(
        encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
    )
    return create_model(config, seed=3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_weights(tiny(), tmp_path / "tiny.safetensors", CARD)


def rewrite(
    path: Path, change: dict[str, torch.Tensor | None] | None = None, metadata: dict[str, str] | None = None
) -> None:
    """Write the file again with some tensors changed (None removes one) and other metadata."""
    model, tensors = tiny(), load_file(path)
    for name, value in (change or {}).items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    whole = {"config": json.dumps(model.config.to_dict()), "card": json.dumps(CARD.to_dict())}
    save_file(tensors, path, whole if metadata is None else metadata)


def test_round_trip(saved: Path) -> None:
    model, back = tiny(), load_weights(saved)
    assert back.card == CARD
    assert back.config == model.config
    assert not back.training
    images = torch.rand(2, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(back(*images).field, model.eval()(*images).field)
    assert not list(saved.parent.glob("*.part"))


def test_names_of_the_user_s_folder(saved: Path, user_folder: Path) -> None:
    user_folder.mkdir()
    (user_folder / "mine.safetensors").write_bytes(saved.read_bytes())
    (user_folder / "broken.safetensors").write_bytes(b"not one")
    names = [card.name for card in available_weights()]
    assert "mine" in names
    assert "broken" not in names
    assert load_weights("mine").card.steps == 7


def test_an_unknown_name_lists_the_known_ones(saved: Path, user_folder: Path) -> None:
    user_folder.mkdir()
    (user_folder / "mine.safetensors").write_bytes(saved.read_bytes())
    with pytest.raises(InputError, match=r"weights: there is no model or file named 'genral'.*mine"):
        load_weights("genral")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    ran = []

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return ran.append, ("opened",)

    for name in ("model.pt", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(InputError, match=r"weights: .*is not a safetensors file"):
            load_weights(path)
    assert not ran


def test_damaged_files_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for size in (0, 6, 200, len(whole) - 10):
        saved.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"^weights: .*tiny.safetensors (is|cannot)"):
            load_weights(saved)
    with pytest.raises(InputError, match="is a folder"):
        load_weights(tmp_path)


def test_foreign_files_are_refused(saved: Path) -> None:
    rewrite(saved, metadata={})
    with pytest.raises(InputError, match="has no 'config' in its metadata"):
        load_weights(saved)
    rewrite(saved, metadata={"config": "{", "card": "{}"})
    with pytest.raises(InputError, match="holds metadata that cannot be used"):
        load_weights(saved)
    rewrite(saved, metadata={"config": json.dumps({"poools": [1]}), "card": json.dumps(CARD.to_dict())})
    with pytest.raises(InputError, match="poools"):
        load_weights(saved)


def test_foreign_tensors_are_refused_by_name(saved: Path) -> None:
    whole = saved.read_bytes()
    for change, message in (
        ({"extra": torch.zeros(1)}, "holds the foreign tensor 'extra'"),
        ({"displacement.weight": None}, "lacks tensor 'displacement.weight'"),
        ({"displacement.bias": torch.zeros(5)}, r"'displacement.bias' of shape \(5,\), not \(2,\)"),
        ({"displacement.bias": torch.full((2,), torch.nan)}, "'displacement.bias' that are not finite"),
    ):
        saved.write_bytes(whole)
        rewrite(saved, change)
        with pytest.raises(InputError, match=message):
            load_weights(saved)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        save_weights(tiny(), tmp_path / "file" / "tiny.safetensors", CARD)


def test_the_bundled_weights_load_say_what_they_are_and_are_small(user_folder: Path) -> None:
    cards = available_weights()
    assert {default_weights(2), default_weights(3)} < {card.name for card in cards}
    for card in cards:
        assert load_weights(card.name).card == card
        assert card.limits
        assert card.data
        assert card.recipe
        assert card.command.startswith(("python scripts/", "napari-ran train examples/"))
        for path in re.findall(r"(?:scripts|examples)/\S+", card.command):
            assert (Path(__file__).parents[2] / path).is_file(), "the command names a file that is not there"
        assert " /" not in card.command
        assert '"/' not in json.dumps(card.recipe), "a path of the machine that trained"
    for name in ("general-2d", "general-3d"):
        figures = load_weights(name).card.figures
        assert figures["epe"] < 0.9 * figures["epe_identity"]
        assert figures["dice"] > figures["dice_identity"]
    figures = load_weights("hippocampus").card.figures
    assert figures["dice_unseen_subjects"] > figures["dice_unseen_subjects_identity"]
    sizes = [file.stat().st_size for file in checkpoints.BUNDLED.glob("*.safetensors")]
    assert max(sizes) < 5_000_000
    assert sum(sizes) < 10_000_000
    assert default_weights(4) is None


@pytest.mark.parametrize("name", ["VM1", "DPRn"])
def test_another_system_comes_back(name: str, tmp_path: Path) -> None:
    network = create_system(name, 2, seed=5)
    card = CARD.replace(preset=name)
    path = save_weights(network, tmp_path / "other.safetensors", card)
    back = load_network(path)
    assert isinstance(back, PairNetwork)
    assert (back.system, back.ndim, back.card, back.training) == (name, 2, card, False)
    images = torch.rand(2, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(back(*images).field, network(*images).field)
    with pytest.raises(InputError, match=f"holds a {name}, not a Residual Aligner Network"):
        load_weights(path)
    save_file(load_file(path), path, {"system": '{"name": "VM9", "ndim": 2}', "card": json.dumps(card.to_dict())})
    with pytest.raises(InputError, match=r"metadata that cannot be used.*no system 'VM9'"):
        load_network(path)
