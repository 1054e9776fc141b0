"""Files made to harm: code in pickles and YAML, bombs, sizes that no memory holds, names that lead elsewhere."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty import samples
from faulty.mutations import FORMAT
from safetensors.torch import load_file, save_file

import napari_ran as ran
from napari_ran.cases.run import file_name
from napari_ran.config import TrainConfig
from napari_ran.errors import InputError
from napari_ran.io import load_image
from napari_ran.io.checkpoints import load_network
from napari_ran.io.folders import NOTE, settled
from napari_ran.io.own_models import add_model
from napari_ran.io.zarr_images import open_zarr
from napari_ran.train.checkpoint import read_checkpoint

SOURCE = Path(ran.__file__).parent
RUN: list[str] = []
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefghij")
)
NAMES = ["..", ".", "...", "../../etc/passwd", "/etc/passwd", "a/b", "x" * 3000, "\x00", "ä" * 300]


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return RUN.append, ("opened",)


@pytest.fixture(autouse=True)
def _nothing_is_run() -> object:
    RUN.clear()
    yield
    assert RUN == []


def held() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_nothing_in_the_package_runs_what_a_file_says() -> None:
    forbidden = {"eval", "exec", "compile", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load"}
    forbidden |= {"yaml.full_load", "os.system", "shutil.unpack_archive", "marshal.loads", "joblib.load"}
    found, loads = [], 0
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            bad = name in forbidden or name.endswith((".extractall", ".extract"))
            bad |= given.get("allow_pickle") == "True" or given.get("shell") == "True"
            if name == "torch.load":
                loads += 1
                bad |= given.get("weights_only") != "True"
            found += [f"{path.name}:{node.lineno} {name}"] if bad else []
    assert found == []
    assert loads == 1


def test_a_pickle_with_the_checksum_of_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"step": 3, "model": Bomb()}, tmp_path / "made")
    for payload in (pickle.dumps(Bomb()), pickle.dumps({"step": Bomb()}, 0), (tmp_path / "made").read_bytes()):
        path = tmp_path / "last.ckpt"
        path.write_bytes(FORMAT + hashlib.sha256(payload).digest() + payload)
        with pytest.raises(InputError, match=r"last\.ckpt: the checkpoint holds what is not read"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['echo']",
        "name: !!python/name:os.system",
        BOMB,
        "a: &a [*a]",
        "[" * 100_000,
        "- " * 5_000 + "1",
        "seed: " + "9" * 10_000,
        "seed: 2001-99-99",
        "x" * 5_000_000,
    ],
    ids=["object", "name", "bomb", "loop", "deep", "deep list", "digits", "no day", "long"],
)
def test_hostile_settings(tmp_path: Path, text: str) -> None:
    path, before, start = tmp_path / "settings.yaml", held(), time.monotonic()
    path.write_text(text)
    for config in (ran.RegistrationConfig, TrainConfig):
        with pytest.raises(InputError) as found:
            config.from_yaml(path)
        assert len(str(found.value)) < 1000
    assert held() - before < 200e6
    assert time.monotonic() - start < 30


def test_a_structure_beyond_all_measure_is_refused_before_it_is_built(tmp_path: Path) -> None:
    path = samples.weights_file(tmp_path, "a.safetensors")
    tensors, card, config = load_file(path), json.dumps({"name": "x", "preset": "x", "ndim": 3}), samples.TINY.to_dict()
    before = held()
    for change in (
        {"encoder_channels": [4096] * 4, "decoder_channels": [4096] * 5, "ndim": 3},
        {"encoder_channels": [10**9] * 4},
        {"heads": 10**12},
        {"pools": [1] * 100_000, "dilations": [1] * 100_000, "decoder_channels": [4] * 100_000},
    ):
        save_file(tensors, path, {"config": json.dumps(config | change), "card": card})
        with pytest.raises(InputError, match=r"^weights: .*a\.safetensors holds"):
            load_network(path)
    assert held() - before < 200e6


def test_headers_that_claim_more_than_there_is(tmp_path: Path) -> None:
    path = samples.image_file(tmp_path, "a.nii")
    content, before = bytearray(path.read_bytes()), held()
    for shape in ((30_000, 30_000, 30_000), (2000, 2000, 1000)):
        struct.pack_into("<4h", content, 40, 3, *shape)
        path.write_bytes(content)
        (tmp_path / "b.nii.gz").write_bytes(gzip.compress(bytes(content)))
        for file in (path, tmp_path / "b.nii.gz"):
            for read in (load_image, ran.io.load_volumes, ran.io.load_labels):
                with pytest.raises(InputError, match=r"its header claims .* voxels, more than fit"):
                    read(file)
    assert held() - before < 100e6


def test_what_unpacks_to_more_than_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 3))) | {"shape": (10**12, 3)}
    with zipfile.ZipFile(path, "w") as archive, archive.open("vertices.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(InputError, match="its header claims"):
        ran.io.load_surface(path)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_cases_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    place = tmp_path / file_name(name)
    place.mkdir()
    assert place.resolve().parent == tmp_path.resolve()
    (tmp_path / f"{file_name(name)}.json").touch()
    assert file_name(name) != file_name(f"{name} ")


@pytest.mark.parametrize("name", ["../up", "/abs", "a/b", "..", "", "a\x00b"])
def test_names_of_models_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a model"):
        add_model(samples.weights_file(tmp_path, "a.safetensors"), name)


@pytest.mark.parametrize("outside", ["../secret", "/etc", "0/../../secret"])
def test_an_ome_zarr_image_does_not_lead_elsewhere(tmp_path: Path, outside: str) -> None:
    path = samples.zarr_folder(tmp_path, "a.ome.zarr")
    said = json.loads((path / ".zattrs").read_text())
    said["multiscales"][0]["datasets"][0]["path"] = outside
    (path / ".zattrs").write_text(json.dumps(said))
    with pytest.raises(InputError, match="lies outside its folder"):
        open_zarr(path)


def test_a_note_of_an_exchange_does_not_lead_elsewhere(tmp_path: Path) -> None:
    out, new = tmp_path / "out", tmp_path / ".out-abcdefgh" / "new"
    out.mkdir()
    new.mkdir(parents=True)
    (tmp_path / "precious").write_text("kept")
    for said in (
        {"staging": ".out-abcdefgh", "obsolete": ["../precious"]},
        {"staging": ".out-abcdefgh", "obsolete": [str(tmp_path / "precious")]},
        {"staging": "../..", "obsolete": []},
        {"staging": 3},
    ):
        (out / NOTE).write_text(json.dumps(said))
        with pytest.raises(InputError, match="of two results"):
            settled(out)
    assert (tmp_path / "precious").read_text() == "kept"
    assert sorted(os.listdir(out)) == [NOTE]
