from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_ran.downloads import RemoteFile, fetched
from napari_ran.errors import InputError

CONTENT = b"a slice"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine with one file."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "slice.mha").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(root))

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", root
        running.shutdown()


def test_a_file_is_fetched_once_and_checked(server: tuple[str, Path], tmp_path: Path) -> None:
    address, root = server
    file = RemoteFile("slice.mha", f"{address}/slice.mha", "sha256:" + hashlib.sha256(CONTENT).hexdigest())
    assert fetched(file, tmp_path / "cache").read_bytes() == CONTENT
    (root / "slice.mha").unlink()
    assert fetched(file, tmp_path / "cache").read_bytes() == CONTENT  # from the cache


def test_another_content_is_refused_and_not_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    file = RemoteFile("slice.mha", f"{server[0]}/slice.mha", "sha256:" + "0" * 64)
    with pytest.raises(InputError, match="checksum differs"):
        fetched(file, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.mha"))


def test_without_a_network_the_cure_is_named(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    file = RemoteFile("slice.mha", f"http://127.0.0.1:{port}/slice.mha", "sha256:" + "0" * 64)
    with pytest.raises(InputError, match=r"slice\.mha: could not be fetched .*refused.*Check the network") as caught:
        fetched(file, tmp_path / "cache", "Make one instead")
    assert caught.value.cure.endswith("Make one instead")
