"""Long work off the GUI thread: events come to the GUI thread, cancel answers at once, nothing is left behind."""

from __future__ import annotations

import atexit
import gc
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Generator
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_ran.widgets._timers import single_shot

logger = logging.getLogger(__name__)

POLL_MS = 40
"""How often the GUI thread looks for news, unless it is told otherwise."""

PATIENCE_MS = 700
"""How long a cancelled task may take before the GUI is given back while the task winds up by itself."""

EXIT_SECONDS = 10.0
"""How long the end of the program waits for a task to come out of its current step."""

Work = Callable[["Task"], Generator[Any, None, Any]]

_TASKS: weakref.WeakSet[Task] = weakref.WeakSet()


class Task:
    """One piece of work in its own thread, without Qt: it can outlive the widget that started it and hurts nobody."""

    def __init__(self, work: Work) -> None:
        self.news: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.dropped = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, name="napari-ran", daemon=True)
        _TASKS.add(self)
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to come to an early end and to deliver what it has."""
        self.stopping.set()

    def drop(self) -> None:
        """Ask the work to stop and to deliver nothing more; safe from any thread, at any time."""
        self.dropped.set()
        self.stopping.set()

    @property
    def running(self) -> bool:
        """Whether the thread is still at work."""
        return self._thread.is_alive()

    def join(self, seconds: float) -> None:
        """Wait for the thread to end, but not longer than this."""
        self._thread.join(seconds)

    def _run(self) -> None:
        steps = self._work(self)
        # a full garbage collection in a process with napari and torch holds every thread up for a quarter of a second:
        # while the task runs, what was there before it is left out
        gc.freeze()
        try:
            while not self.dropped.is_set():
                try:
                    self._tell("event", next(steps))
                except StopIteration as stop:
                    self._tell("finished", stop.value)
                    return
        except Exception as error:  # shown to the user, whatever it is
            logger.debug("the work failed", exc_info=True)
            self._tell("failed", error)
        finally:
            steps.close()
            gc.unfreeze()

    def _tell(self, kind: str, value: Any) -> None:
        if not self.dropped.is_set():
            self.news.put((kind, value))


@atexit.register
def _wait_for_tasks() -> None:
    """Let no thread be inside compiled code when the interpreter goes down."""
    tasks = list(_TASKS)
    for task in tasks:
        task.drop()
    for task in tasks:
        task.join(EXIT_SECONDS)


class _Current:
    """The task that is listened to; no Qt object, so that it can be reached when the widget is already gone."""

    def __init__(self) -> None:
        self.task: Task | None = None

    def drop(self) -> None:
        """Throw away whatever the task still finds."""
        if self.task is not None:
            self.task.drop()
            self.task = None


class Worker(QObject):
    """Runs one task at a time for a widget and signals in the GUI thread.

    The work is a function of the `Task` that returns a generator: what it yields comes as `stepped`, what it returns as
    `finished`. It should look at ``task.stopping`` now and then. A generator is closed when it is no longer wanted.

    Parameters
    ----------
    parent : QObject
        Whose child it is.
    poll_ms : int
        How often to look for news.

    Signals
    -------
    stepped : object
        Something that the work yielded.
    finished : object
        What the work returned; also after `stop`, when it had something to give.
    failed : object
        The exception that ended it.
    released : ()
        A stopped task did not answer in time: the GUI is free, the result may still come (as `finished`) unless a new
        task starts or `drop` is called.
    """

    stepped = Signal(object)
    finished = Signal(object)
    failed = Signal(object)
    released = Signal()

    def __init__(self, parent: QObject, poll_ms: int = POLL_MS) -> None:
        super().__init__(parent)
        self.current = _Current()
        self.destroyed.connect(self.current.drop)  # not a method of this object: it is already gone when it is called
        self._poll = QTimer(self)
        self._poll.setInterval(poll_ms)
        self._poll.timeout.connect(self._look)
        self._patience = single_shot(self, PATIENCE_MS, self.released.emit)

    @property
    def task(self) -> Task | None:
        """The task that is listened to, if any."""
        return self.current.task

    def start(self, work: Work) -> Task:
        """Drop what is running and start anew."""
        self.drop()
        task = self.current.task = Task(work)
        self._poll.start()
        return task

    def stop(self) -> None:
        """Ask the task to end early; `finished`, `failed` or, after a moment, `released` follows."""
        if self.task is not None:
            self.task.stop()
            self._patience.start()

    def drop(self) -> None:
        """Stop listening: whatever the task still finds is thrown away."""
        self._poll.stop()
        self._patience.stop()
        self.current.drop()

    def _look(self) -> None:
        """Deliver the news; of several events only those in the queue now, so that the GUI stays responsive."""
        task = self.task
        if task is None:
            return
        for _ in range(max(1, task.news.qsize())):
            try:
                kind, value = task.news.get_nowait()
            except queue.Empty:
                return
            if kind != "event":
                self._poll.stop()
                self._patience.stop()
                self.current.task = None
            {"event": self.stepped, "finished": self.finished, "failed": self.failed}[kind].emit(value)
            if self.task is not task:  # a slot started or dropped something
                return
