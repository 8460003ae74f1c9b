"""Times as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime

import typer


def parse_time(text: str) -> datetime:
    """Return the time in ISO 8601; it is UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
