from __future__ import annotations

import pytest

from napari_ran.errors import InputError, NotEnoughMemoryError, OutputError, RanError


def test_an_input_error_is_one_sentence_with_its_cure() -> None:
    error = InputError("fixed", "got 4 axes", "Choose one time point")
    assert str(error) == "fixed: got 4 axes. Choose one time point."
    assert str(InputError("preset", "unknown", "Did you mean 'RAN3'?")).endswith("'RAN3'?")


def test_errors_are_also_the_builtin_kind_that_callers_expect() -> None:
    for kind, builtin in ((InputError, ValueError), (NotEnoughMemoryError, MemoryError), (OutputError, OSError)):
        with pytest.raises(builtin) as caught:
            raise kind("x", "problem", "cure")
        assert isinstance(caught.value, RanError)
        assert str(caught.value) == "x: problem. cure."
