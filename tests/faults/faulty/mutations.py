"""Damage to the bytes of a file: what disks, networks, editors and enemies do to it, drawn from a seed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch

FORMAT = b"napari-ran checkpoint 1\n"

Mutation = Callable[[bytes, Random], bytes]

WORDS = (b"nan", b"inf", b"-inf", b"0", b"-1", b"1e308", b"1e-320", b"99999", b"100000", b"4294967296", b"-0.0")
WORDS += (b"18446744073709551616", b"9" * 400, b"9" * 5000, b"null", b"true", b'"', b"[", b"{", b"", b"\xff\xfe")
WORDS += (b"!!python/object/apply:os.system [echo]", b"*a", b"&a [*a]", b"[" * 3000, b'{"a":' * 3000, b"../../etc")
"""What takes the place of a number or a word in a text."""

INTEGERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 100_000, 2**31 - 1, 2**31, 2**32 - 1, 2**62, -1)
FLOATS = (0.0, -0.0, -1.0, 1e-42, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"), 1e5)

NIFTI_FIELDS = {
    **{f"dim[{axis}]": (40 + 2 * axis, "h") for axis in range(8)},
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    **{f"pixdim[{axis}]": (76 + 4 * axis, "f") for axis in range(8)},
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    **{f"quatern[{axis}]": (256 + 4 * axis, "f") for axis in range(6)},
    **{f"srow[{axis}]": (280 + 4 * axis, "f") for axis in range(12)},
    "sizeof_hdr": (0, "i"),
    "magic": (344, "i"),
}


def of_bytes(data: bytes, rng: Random) -> bytes:
    """Cut, flip, overwrite, drop, repeat or insert bytes, most often near the beginning, where headers are."""
    content = bytearray(data)
    size = len(content)
    reach = min(size, 512) if rng.random() < 0.6 else size
    place = rng.randrange(max(1, reach))
    length = min(rng.choice((1, 2, 4, 8, 64, 512)), size - place)
    kind = rng.randrange(7)
    if kind == 0:
        return bytes(content[: rng.randrange(size + 1)])
    if kind == 1:
        for _ in range(rng.randint(1, 8)):
            content[rng.randrange(max(1, reach))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        content[place : place + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    elif kind == 3:
        del content[place : place + length]
    elif kind == 4:
        content[place:place] = content[place : place + length] * rng.choice((1, 2, 50))
    elif kind == 5:
        content[place:place] = rng.randbytes(length)
    else:
        content = bytearray(_number_at(bytes(content), place, rng))
    return bytes(content)


def _number_at(data: bytes, place: int, rng: Random) -> bytes:
    """Overwrite an extreme number, of any width and byte order."""
    code, order = rng.choice("hHiIqQfd"), rng.choice("<>")
    if code in "fd":
        new = struct.pack(order + code, rng.choice(FLOATS))
    else:
        width = struct.calcsize(code)
        little = "little" if order == "<" else "big"
        new = (rng.choice(INTEGERS) % 2 ** (8 * width)).to_bytes(width, little)
    return data[:place] + new + data[place + len(new) :]


def of_text(data: bytes, rng: Random) -> bytes:
    """Replace a number or a word by an extreme one, or drop, repeat or join lines; now and then spoil its bytes."""
    kind = rng.randrange(8)
    if kind < 5:
        found = list(re.finditer(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?" if kind < 4 else rb"[\w./-]+", data))
        if found:
            chosen = rng.choice(found)
            return data[: chosen.start()] + rng.choice(WORDS) + data[chosen.end() :]
    lines = data.splitlines(keepends=True)
    if kind == 5 and lines:
        del lines[rng.randrange(len(lines))]
        return b"".join(lines)
    if kind == 6 and lines:
        line = rng.randrange(len(lines))
        lines[line:line] = [lines[line]] * rng.choice((1, 2, 30))
        return b"".join(lines)
    return of_bytes(data, rng)


def of_mixed(data: bytes, rng: Random) -> bytes:
    """Damage a text header (up to the first null byte or 2000 bytes) as text, or the whole as bytes."""
    if rng.random() < 0.5:
        return of_bytes(data, rng)
    end = min(2000, len(data))
    return of_text(data[:end], rng) + data[end:]


def of_nifti(data: bytes, rng: Random) -> bytes:
    """Set one to three fields of a NIfTI-1 header to extremes, or spoil its bytes."""
    if rng.random() < 0.35 or len(data) < 348:
        return of_bytes(data, rng)
    content = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place, code = NIFTI_FIELDS[rng.choice(list(NIFTI_FIELDS))]
        if code == "f":
            struct.pack_into("<f", content, place, rng.choice(FLOATS))
        else:
            width = struct.calcsize(code)
            content[place : place + width] = (rng.choice(INTEGERS) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(content)


def within_gzip(inner: Mutation) -> Mutation:
    """Return damage that is mostly done before the compression, so that it reaches the reader behind it."""

    def damage(data: bytes, rng: Random) -> bytes:
        if rng.random() < 0.25:
            return of_bytes(data, rng)
        return gzip.compress(inner(gzip.decompress(data), rng), 1)

    return damage


def of_tiff(data: bytes, rng: Random) -> bytes:
    """Overwrite numbers in the directory of a TIFF file, or spoil its bytes."""
    if rng.random() < 0.4 or len(data) < 16:
        return of_mixed(data, rng)
    (start,) = struct.unpack_from("<I" if data[:2] == b"II" else ">I", data, 4)
    start = start if 8 <= start < len(data) else 8
    place = min(start + rng.randrange(240), len(data) - 1)
    return _number_at(data, place, rng)


def of_safetensors(data: bytes, rng: Random) -> bytes:
    """Spoil the header and give it its new length, or spoil the bytes."""
    if rng.random() < 0.4 or len(data) < 8:
        return of_bytes(data, rng)
    (length,) = struct.unpack_from("<Q", data)
    header = data[8 : 8 + length]
    header = _of_tensor_list(header, rng) if rng.random() < 0.5 else of_text(header, rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _of_tensor_list(header: bytes, rng: Random) -> bytes:
    """Change the type, shape or place of one tensor, rename it or leave it out."""
    listed = json.loads(header)
    name = rng.choice(sorted(listed))
    entry = listed[name]
    kind = rng.randrange(5)
    if kind == 0:
        del listed[name]
    elif kind == 1:
        listed[f"{name}.extra"] = entry
    elif "shape" not in entry:
        entry[rng.choice(sorted(entry))] = rng.choice(("", "{}", "[]", '{"name": 3}', "[" * 5000))
    elif kind == 2:
        entry["dtype"] = rng.choice(("F16", "F64", "I64", "BOOL", "BF16", "U8", "F99"))
    elif kind == 3:
        entry["shape"] = [rng.choice((0, 1, 10**5, 2**40, 2**63)) for _ in range(rng.randint(0, 6))]
    else:
        entry["data_offsets"] = [rng.choice((0, 8, 2**40, -1)), rng.choice((0, 8, 2**40, 2**63))]
    return json.dumps(listed).encode()


def of_checkpoint(data: bytes, rng: Random) -> bytes:
    """Spoil a training's checkpoint: as a disk would, or as someone would who gives what is changed its checksum."""
    head = len(FORMAT) + 32
    kind = rng.randrange(3)
    if kind == 0 or not data.startswith(FORMAT):
        return of_bytes(data, rng)
    payload = of_bytes(data[head:], rng) if kind == 1 else _of_state(data[head:], rng)
    return FORMAT + hashlib.sha256(payload).digest() + payload


def _of_state(payload: bytes, rng: Random) -> bytes:
    """Change, drop or add one value of the saved state, at any depth."""
    state = torch.load(io.BytesIO(payload), weights_only=True)
    place = state
    key = rng.choice(sorted(place, key=str))
    while isinstance(place[key], dict) and place[key] and rng.random() < 0.8:
        place = place[key]
        key = rng.choice(sorted(place, key=str))
    junk = (None, -1, 10**30, float("nan"), "junk", [], {}, torch.zeros(3), torch.full((2, 2), float("nan")))
    if rng.random() < 0.3:
        del place[key]
    else:
        place[key] = rng.choice(junk)
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def of_hdf5(data: bytes, rng: Random) -> bytes:
    """Set a number or the size of an ITK transform's data sets to an extreme, or spoil its bytes."""
    if rng.random() < 0.5:
        return of_bytes(data, rng)
    import h5py

    held = io.BytesIO(data)
    with h5py.File(held, "r+") as file:
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        name = rng.choice(sorted(found))
        old = file[name][...]
        if rng.random() < 0.2:
            del file[name]
        elif old.dtype.kind == "f" and old.size:
            new = old.ravel().copy()
            new[rng.randrange(new.size)] = rng.choice((*FLOATS, 1e15))
            del file[name]
            file[name] = new[: rng.randrange(new.size + 1)] if rng.random() < 0.3 else new
        else:
            del file[name]
            file[name] = rng.choice((b"AffineTransform_double_3_3", b"junk", b""))
    return held.getvalue()


BY_SUFFIX: dict[str, Mutation] = {
    ".nii": of_nifti,
    ".nii.gz": within_gzip(of_nifti),
    ".mgz": within_gzip(of_bytes),
    ".nrrd": of_mixed,
    ".mha": of_mixed,
    ".tif": of_tiff,
    ".h5": of_hdf5,
    ".safetensors": of_safetensors,
    ".ckpt": of_checkpoint,
    **dict.fromkeys((".obj", ".vtk", ".ply", ".npy", ".npz"), of_mixed),
    **dict.fromkeys((".json", ".yaml", ".csv", ".fcsv", ".txt", ".jsonl", ".mrk.json"), of_text),
    **dict.fromkeys((".zattrs", ".zarray", ".zgroup"), of_text),
}
"""What is done to a file by its ending; others get `of_bytes`."""


def damaged(path: Path, rng: Random) -> str:
    """Damage a file, or one of a folder's files, in place; return its name within the folder."""
    file = path
    if path.is_dir():
        file = rng.choice(sorted(one for one in path.rglob("*") if one.is_file()))
        if rng.random() < 0.05:
            file.unlink()
            return f"{file.relative_to(path)} removed"
    name = file.name.lower()
    suffix = next((end for end in (".nii.gz", ".mrk.json") if name.endswith(end)), file.suffix or file.name)
    damage = of_text if name.startswith("ascii") else BY_SUFFIX.get(suffix, of_bytes)
    file.write_bytes(damage(file.read_bytes(), rng))
    return str(file.relative_to(path)) if path.is_dir() else file.name
