"""A bounded memory of computed values; how it makes them for several threads is tested where an inspection does."""

from __future__ import annotations

import pytest

from napari_ran.cache import Cache


def test_what_was_found_last_stays() -> None:
    cache = Cache(8)
    for key in "ab":
        cache.put(key, key, 4)
    assert cache.find("a") == "a"
    cache.put("c", "c", 4)
    assert [cache.find(key) for key in "abc"] == ["a", None, "c"]
    cache.put("c", "new", 1)
    assert cache.find("c") == "new"
    assert cache.bytes == 5
    cache.put("c", "larger than all that is kept", 9)
    assert cache.find("c") is None


@pytest.mark.parametrize(("least", "kept"), [(0, ["a", "b", None]), (1, [None, None, "c"]), (2, [None, "b", "c"])])
def test_a_value_that_is_too_large_is_kept_where_some_are_kept_at_least(least: int, kept: list[str | None]) -> None:
    cache = Cache(8, least)
    for key, size in (("a", 4), ("b", 4), ("c", 9)):
        cache.put(key, key, size)
    assert [cache.find(key) for key in "abc"] == kept
