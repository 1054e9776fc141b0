from __future__ import annotations

from pathlib import Path

import pytest

from napari_ran.config import InstanceConfig, RegistrationConfig
from napari_ran.errors import InputError, OutputError


def test_dict_and_yaml_round_trips_are_equal(tmp_path: Path) -> None:
    config = RegistrationConfig(weights="none", spacing=1.5, instance=InstanceConfig(mode="network"))
    assert RegistrationConfig(**config.to_dict()) == config
    config.to_yaml(tmp_path / "settings.yaml")
    assert RegistrationConfig.from_yaml(tmp_path / "settings.yaml") == config


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RegistrationConfig().device = "cpu"  # type: ignore[misc]


def test_replace_keeps_what_a_nested_override_does_not_name() -> None:
    config = RegistrationConfig(instance=InstanceConfig(similarity="mind"))
    assert config.replace(instance={"mode": "none"}).instance == InstanceConfig(mode="none", similarity="mind")
    assert config.replace(instance="network").instance == InstanceConfig(mode="network", similarity="mind")
    assert config.replace(affine="rigid").affine == "rigid"


def test_a_plain_string_sets_the_instance_mode() -> None:
    assert RegistrationConfig(instance="none").instance.mode == "none"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"affin": "none"}, "affin: unknown key of RegistrationConfig. Did you mean 'affine'?"),
        (
            {"instance": {"simlarity": "ncc"}},
            "instance.simlarity: unknown key of InstanceConfig. Did you mean 'similarity'?",
        ),
        ({"qqq": 1}, "Known keys are preset, weights, device"),
        ({"spacing": -1}, "spacing: input should be greater than 0, got -1"),
        ({"affine": "elastic"}, "affine: input should be 'auto', 'none', 'centre', 'rigid' or 'affine', got 'elastic'"),
        ({"instance": {"mode": "both"}}, "instance.mode: input should be 'none', 'field' or 'network', got 'both'"),
    ],
)
def test_a_bad_setting_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        RegistrationConfig(**values)  # type: ignore[arg-type]
    assert message in str(caught.value)
    with pytest.raises(InputError):
        RegistrationConfig().replace(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("affine: [", "is not valid YAML"),
        ("- 1\n- 2\n", "holds list, not named settings"),
        ("1: 2\n", "not named settings"),
        ("affin: none\n", "Did you mean 'affine'?"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        RegistrationConfig.from_yaml(path)
    assert message in str(caught.value)


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="config: cannot read"):
        RegistrationConfig.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not valid YAML"):
        RegistrationConfig.from_yaml(tmp_path / "binary.yaml")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("")
    assert RegistrationConfig.from_yaml(tmp_path / "empty.yaml") == RegistrationConfig()


def test_settings_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="settings could not be written"):
        RegistrationConfig().to_yaml(tmp_path / "no" / "folder.yaml")


def test_older_settings_leave_open_what_the_network_sees() -> None:
    assert RegistrationConfig.model_validate({"network_voxels": None}) == RegistrationConfig()
