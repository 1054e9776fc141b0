"""Driving generators of steps: long work yields what it is doing and returns what it found."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

StepT = TypeVar("StepT")
EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")


def last(steps: Generator[StepT, None, ResultT], each: Callable[[StepT], object] = lambda step: None) -> ResultT:
    """Run a generator to its end, handing every step to `each`, and return its result."""
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            result: ResultT = stop.value
            return result
        each(step)


def relay(
    steps: Generator[StepT, None, ResultT],
    event: Callable[[StepT], EventT],
    within: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Generator[EventT, None, ResultT]:
    """Yield what `event` makes of each step, and return the result; closing it closes the steps.

    Each step is taken in a context of its own that `within` makes, such as `torch.no_grad`: what consumes the events
    never sees it.
    """
    try:
        while True:
            with within():
                try:
                    step = next(steps)
                except StopIteration as stop:
                    result: ResultT = stop.value
                    return result
            yield event(step)
    finally:
        steps.close()
