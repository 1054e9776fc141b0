"""Names that are going warn, work as before, and are gone when their version comes."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path

import pytest

import napari_ran
from napari_ran.deprecation import deprecated


@deprecated(since="0.2", gone="0.4", instead="napari_ran.register")
def align(fixed: int, moving: int = 2) -> int:
    """Register two images."""
    return fixed + moving


@deprecated(since="0.2", gone="0.4")
class Aligner:
    """Registers images."""

    def __init__(self, steps: int) -> None:
        self.steps = steps


class Kept:
    @deprecated(since="0.3", gone="0.5", instead="steps")
    def count(self) -> int:
        """Return the number of steps."""
        return 3


def test_a_function_warns_and_works_as_before() -> None:
    with pytest.warns(DeprecationWarning, match=r"^align is deprecated since 0\.2 and will be gone in 0\.4; use nap"):
        assert align(1, moving=4) == 5
    assert align.__name__ == "align"
    assert align.__deprecated__.startswith("align is deprecated")


def test_the_warning_points_to_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        align(1)
        Aligner(1)
    assert [record.filename for record in caught] == [__file__, __file__]


def test_a_class_stays_a_class() -> None:
    with pytest.warns(DeprecationWarning, match=r"Aligner is deprecated since 0\.2 and will be gone in 0\.4$"):
        made = Aligner(7)
    assert isinstance(made, Aligner)
    assert made.steps == 7


def test_a_method_warns_when_it_is_called_only() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = Kept()
    with pytest.warns(DeprecationWarning, match="use steps instead"):
        assert kept.count() == 3


def test_the_docstring_says_so_first() -> None:
    assert (align.__doc__ or "").startswith("Align is deprecated since 0.2")
    assert (align.__doc__ or "").endswith("Register two images.")


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def ends(source: str) -> list[str]:
    """Return the versions in which the deprecated names of a file should be gone."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    marked = (call for call in calls if ast.unparse(call.func).split(".")[-1] == "deprecated")
    return [ast.literal_eval(word.value) for call in marked for word in call.keywords if word.arg == "gone"]


def test_nothing_is_still_there_that_should_be_gone() -> None:
    now = version(napari_ran.__version__)
    assert version("0.10.1") > version("0.9")
    assert ends(Path(__file__).read_text(encoding="utf-8")) == ["0.4", "0.4", "0.5"]
    for path in Path(napari_ran.__file__).parent.rglob("*.py"):
        for end in ends(path.read_text(encoding="utf-8")):
            assert version(end) > now, f"{path.name} has what should be gone since {end}"
