"""The precision of the network's pass: what is asked for, what is measured, and what is left as it was."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch

import napari_ran as ran
from napari_ran import precision
from napari_ran.config import RegistrationConfig
from napari_ran.errors import InputError
from napari_ran.precision import autocast_to, measured_gain, precisions_for

CPU = torch.device("cpu")
LARGE, TINY = (ran.Grid.from_spacing((n, n, n), 1.0) for n in (100, 10))


@pytest.fixture(scope="module")
def pair() -> tuple[ran.Image, ran.Image]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 6, 5, 4, generator=generator)
    values = torch.nn.functional.interpolate(coarse, size=(40, 36, 32), mode="trilinear", align_corners=True)[0, 0]
    grid = ran.Grid.from_spacing((40, 36, 32), 1.0)
    return ran.Image(values, grid), ran.Image(values.roll(2, 0), grid)


def config(**settings: object) -> RegistrationConfig:
    return RegistrationConfig().replace(**settings)


@pytest.mark.parametrize(
    ("settings", "grid"),
    [
        ({"instance": "field"}, LARGE),
        ({"instance": "none"}, TINY),
    ],
)
def test_single_precision_where_nothing_is_to_be_gained(
    settings: dict[str, object], grid: ran.Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "measured_gain", lambda device: 9.0)
    assert precisions_for(config(**settings), grid, CPU) == (("fp32", "bf16"), "")


def test_kept_levels_are_in_single_precision_even_where_memory_is_short() -> None:
    assert precisions_for(config(instance="none", keep_levels=True), LARGE, CPU) == (("fp32",), "")


@pytest.mark.parametrize(("gain", "expected"), [(1.5, "bf16"), (1.1, "fp32"), (0.3, "fp32")])
def test_auto_follows_the_measurement(gain: float, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "measured_gain", lambda device: gain)
    found, message = precisions_for(config(instance="none"), LARGE, CPU)
    assert found[0] == expected
    assert message == ("The network computes in bf16: 1.5 times as fast as fp32 on CPU" if gain == 1.5 else "")


def test_a_gain_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = precision._gain
    monkeypatch.setattr(precision, "_gain", lambda device: calls.append(device) or real(device))
    first = measured_gain(CPU, tmp_path)
    assert 0.01 < first < 100
    (kept,) = json.loads((tmp_path / "precision.json").read_text()).items()
    assert kept[0].startswith("CPU, ")
    assert kept[1] == first
    precision._kept_gain.cache_clear()  # as in a new process
    assert measured_gain(CPU, tmp_path) == first
    assert len(calls) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": "b"}', "null"])
def test_a_damaged_cache_is_measured_anew(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precision.json").write_text(content)
    monkeypatch.setattr(precision, "_gain", lambda device: 2.0)
    assert measured_gain(CPU, tmp_path) == 2.0


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(precision, "_gain", lambda device: 2.0)
    assert measured_gain(CPU, tmp_path / "file") == 2.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "fp16 is slow and too coarse on a CPU"),
        ({"precision": "bf16", "keep_levels": True}, "levels are kept in single precision"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(
    settings: dict[str, object], message: str, pair: tuple[ran.Image, ran.Image]
) -> None:
    with pytest.raises(InputError, match=message):
        ran.start(*pair, device="cpu", **settings)


def test_bf16_is_near_fp32_and_said_in_the_report(pair: tuple[ran.Image, ran.Image]) -> None:
    fields = {}
    for name in ("fp32", "tf32", "bf16"):
        result = ran.register(*pair, affine="none", instance="none", device="cpu", precision=name)
        fields[name] = result.field.tensor
        said = [message for message in result.report.messages if "The network computes in" in message]
        assert said == ([] if name == "fp32" else [f"The network computes in {name}, as asked for"])
    assert torch.equal(fields["fp32"], fields["tf32"])  # there is no TF32 on a processor
    gap = (fields["bf16"] - fields["fp32"]).abs()
    assert 0 < gap.max() < 0.5
    assert gap.mean() < 0.05
    assert fields["fp32"].abs().max() > 0.5


def test_flags_are_as_before_afterwards() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    for name, inside in (("fp32", False), ("tf32", True)):
        with precision._tf32(name == "tf32"):
            assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is inside
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before
    with suppress(ZeroDivisionError), autocast_to("bf16", CPU):
        assert torch.is_autocast_enabled("cpu")
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu")
