from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest
from qtpy.QtCore import QObject

from napari_ran.widgets._worker import PATIENCE_MS, Task, Worker


@pytest.fixture
def worker(qtbot: Any) -> Generator[Worker, None, None]:
    owner = QObject()
    made = Worker(owner)
    yield made
    made.drop()


def test_events_arrive_in_the_gui_thread_in_their_order(worker: Worker, qtbot: Any) -> None:
    threads: list[threading.Thread] = []
    seen: list[int] = []

    def work(task: Task) -> Generator[int, None, str]:
        threads.append(threading.current_thread())
        yield from range(5)
        return "result"

    def note(event: int) -> None:
        seen.append(event)
        threads.append(threading.current_thread())

    worker.stepped.connect(note)
    with qtbot.waitSignal(worker.finished) as signal:
        worker.start(work)
    assert signal.args == ["result"]
    assert seen == [0, 1, 2, 3, 4]
    assert threads[0] is not threading.main_thread()
    assert set(threads[1:]) == {threading.main_thread()}


def test_an_exception_is_delivered(worker: Worker, qtbot: Any) -> None:
    def work(task: Task) -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    with qtbot.waitSignal(worker.failed) as signal:
        worker.start(work)
    assert str(signal.args[0]) == "broken"
    assert worker.task is None


def test_a_stopped_task_delivers_what_it_has(worker: Worker, qtbot: Any) -> None:
    def work(task: Task) -> Generator[int, None, str]:
        while not task.stopping.wait(0.01):
            yield 1
        return "the best so far"

    with qtbot.waitSignal(worker.stepped):
        worker.start(work)
    with qtbot.waitSignal(worker.finished) as signal:
        worker.stop()
    assert signal.args == ["the best so far"]


def test_a_task_that_does_not_answer_gives_the_gui_back_and_may_still_deliver(worker: Worker, qtbot: Any) -> None:
    gate = threading.Event()

    def work(task: Task) -> Generator[int, None, str]:
        yield 1
        gate.wait(10)
        return "late"

    with qtbot.waitSignal(worker.stepped):
        worker.start(work)
    with qtbot.waitSignal(worker.released, timeout=PATIENCE_MS + 300):
        worker.stop()
    with qtbot.waitSignal(worker.finished) as signal:
        gate.set()
    assert signal.args == ["late"]


def test_a_dropped_task_says_nothing_and_its_generator_is_closed(worker: Worker, qtbot: Any) -> None:
    gate, closed = threading.Event(), threading.Event()
    heard: list[Any] = []

    def work(task: Task) -> Generator[int, None, str]:
        try:
            yield 1
            gate.wait(10)
            yield 2
            return "unwanted"
        finally:
            closed.set()

    for signal in (worker.finished, worker.failed):
        signal.connect(heard.append)
    with qtbot.waitSignal(worker.stepped):
        task = worker.start(work)
    worker.stepped.connect(heard.append)
    worker.drop()
    gate.set()
    assert closed.wait(5)
    task.join(5)
    qtbot.wait(100)
    assert not heard
    assert not task.running


def test_a_new_task_takes_the_place_of_the_old_one(worker: Worker, qtbot: Any) -> None:
    def work(name: str) -> Any:
        def steps(task: Task) -> Generator[int, None, str]:
            while name == "old" and not task.stopping.wait(0.01):
                yield 1
            return name

        return steps

    finished: list[str] = []
    worker.finished.connect(finished.append)
    old = worker.start(work("old"))
    with qtbot.waitSignal(worker.finished):
        worker.start(work("new"))
    old.join(5)
    qtbot.wait(100)
    assert finished == ["new"]
