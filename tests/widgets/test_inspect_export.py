from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import napari_ran as ran

Make = Callable[..., Any]


def test_the_report_is_written_in_the_background(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    export = widget.export
    assert export.button.isEnabled()
    steps: list[Any] = []
    export.worker.stepped.connect(steps.append)
    export.write(tmp_path / "out")
    assert not export.button.isEnabled()
    qtbot.waitUntil(lambda: export.button.isEnabled(), timeout=60_000)
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<summary>Settings</summary>" in text
    assert "<summary>Report of the registration</summary>" in text
    assert "out/index.html" in export.words.text()
    assert steps[-1].step == steps[-1].total - 1
    assert export.bar.isHidden()


def test_stopping_the_report_leaves_nothing_behind(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    export = widget.export
    export.write(tmp_path / "out", ablation=True)
    qtbot.waitUntil(lambda: export.bar.value() > 0, timeout=60_000)
    export.stop_button.click()
    qtbot.waitUntil(lambda: export.button.isEnabled(), timeout=60_000)
    assert "nothing was written" in export.words.text()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_said_in_words(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    widget.export.write(tmp_path / "file" / "out")
    qtbot.waitUntil(lambda: not widget.message.isHidden(), timeout=60_000)
    assert "could not be written" in widget.message.text.text()
    assert widget.export.button.isEnabled()
