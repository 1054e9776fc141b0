"""The errors that users see: each names the argument, what came, and the cure."""

from __future__ import annotations

_LONGEST = 1500
"""Letters of a part of an error: damaged files put whole pages of junk into it."""


class RanError(Exception):
    """Base of every error that this package raises on purpose."""


class InputError(RanError, ValueError):
    """An argument cannot be used.

    Parameters
    ----------
    argument : str
        Name of the argument (or file, or config key) that is at fault.
    problem : str
        What was expected and what came, without a final full stop.
    cure : str
        What to do about it, without a final full stop.
    """

    def __init__(self, argument: str, problem: str, cure: str) -> None:
        self.argument, self.problem, self.cure = argument, problem, cure
        super().__init__(_sentence(argument, problem, cure))


class DeviceError(InputError):
    """A device was asked for that this machine does not have."""


class NotEnoughMemoryError(InputError, MemoryError):
    """The predicted peak memory does not fit; the cure names the setting that would fit."""


class OutputError(RanError, OSError):
    """A result could not be written; nothing half-written is left behind.

    Parameters
    ----------
    path : str
        The file or folder that was to be written.
    problem : str
        Why it failed, without a final full stop.
    cure : str
        What to do about it, without a final full stop.
    """

    def __init__(self, path: str, problem: str, cure: str) -> None:
        self.path, self.problem, self.cure = path, problem, cure
        super().__init__(_sentence(path, problem, cure))


def brief(text: str, longest: int = 300) -> str:
    """Return a text, its middle left out where it is longer than anyone would read."""
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3]} … {text[-longest // 4 :]}"


def _sentence(subject: str, problem: str, cure: str) -> str:
    subject, problem, cure = (brief(part, _LONGEST) for part in (subject, problem, cure))
    return f"{subject}: {problem}. {cure}" + ("" if cure.endswith(("?", ".", "!")) else ".")
