"""Halving a group of rows: whatever rows are bad, exactly those are refused, and all others are written once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DataError, OperationalError

from vetrina.core.recent_keys import RecentKeys
from vetrina.store.refused_rows import write_accepted


@given(st.lists(st.booleans(), max_size=60))
def test_exactly_the_bad_rows_are_refused(is_bad):
    written: list[int] = []

    def write(rows):
        if any(is_bad[row] for row in rows):
            raise DataError("insert", {}, ValueError("too long"))
        written.extend(rows)

    refused = write_accepted(range(len(is_bad)), write)
    assert refused == [row for row in range(len(is_bad)) if is_bad[row]]
    assert written == [row for row in range(len(is_bad)) if not is_bad[row]]


def test_an_error_of_the_store_is_no_rows_fault():
    calls: list[int] = []

    def write(rows):
        calls.append(len(rows))
        raise OperationalError("insert", {}, ConnectionError("gone"))

    with pytest.raises(OperationalError):
        write_accepted(range(100), write)
    assert calls == [100]


def test_a_set_of_recent_keys_forgets_what_was_not_used_for_longest():
    """S14: a set that everybody can add to stays bounded."""
    recent = RecentKeys(2)
    recent.add("a")
    recent.add("b")
    assert "a" in recent  # and used
    recent.add("c")
    assert len(recent) == 2
    assert "b" not in recent
    assert "a" in recent
