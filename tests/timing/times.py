"""Times to try."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st


def times(first: int, last: int) -> st.SearchStrategy[datetime]:
    """Draw times between two years, many of them when clocks change."""
    return st.datetimes(
        datetime(first, 1, 1), datetime(last, 1, 1), timezones=st.just(UTC)
    ) | st.builds(
        # Around the time of year and of day at which clocks change.
        lambda year, month, day, minute: (
            datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=minute)
        ),
        st.integers(1990, 2035),
        st.sampled_from([3, 4, 9, 10, 11]),
        st.integers(1, 30),
        st.integers(0, 1439),
    )
