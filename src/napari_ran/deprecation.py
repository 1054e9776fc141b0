"""Names that are going: they say so when they are used, with what to use instead and until when they stay."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

Named = TypeVar("Named", bound=Callable[..., Any])


def deprecated(*, since: str, gone: str, instead: str = "") -> Callable[[Named], Named]:
    """Mark a function, method or class as going; using it warns, and its docstring begins with the same note.

    Parameters
    ----------
    since : str
        Version that first warns.
    gone : str
        Version without it.
    instead : str
        What to use in its place; may be empty.

    Returns
    -------
    decorator
        For the function or class. What it returns has the note as ``__deprecated__``, as PEP 702 has it.
    """

    def mark(named: Named) -> Named:
        note = f"{named.__name__} is deprecated since {since} and will be gone in {gone}"
        note += f"; use {instead} instead" if instead else ""
        if isinstance(named, type):
            named.__init__ = _warning(named.__init__, note)  # type: ignore[misc]  # a class stays the same class
            marked: Any = named
        else:
            marked = _warning(named, note)
        marked.__doc__ = f"{note[0].upper()}{note[1:]}.\n\n{named.__doc__ or ''}".rstrip()
        marked.__deprecated__ = note
        return cast(Named, marked)

    return mark


def _warning(function: Callable[..., Any], note: str) -> Callable[..., Any]:
    """Return a function that warns its caller before it does what it did."""

    @functools.wraps(function)
    def warned(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(note, DeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return warned
