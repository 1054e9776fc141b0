from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_ran import InputError
from napari_ran.config import RANConfig
from napari_ran.errors import OutputError
from napari_ran.io import checkpoints
from napari_ran.io.checkpoints import ModelCard, available_weights, default_weights, load_weights, save_weights
from napari_ran.models import RAN, create_model

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
    names = [name for name in (default_weights(2), default_weights(3)) if name]
    assert [card.name for card in available_weights()] == sorted(names)
    for name in names:
        model = load_weights(name)
        assert model.card.name == name
        assert model.card.limits
        assert model.card.command.startswith("python scripts/train_general.py")
        assert model.card.figures["epe"] < 0.9 * model.card.figures["epe_identity"]
        assert model.card.figures["dice"] > model.card.figures["dice_identity"]
        assert (checkpoints.BUNDLED / f"{name}.safetensors").stat().st_size < 5_000_000
    assert default_weights(4) is None
