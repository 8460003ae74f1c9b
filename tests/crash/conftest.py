"""A mail server that survives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon.servers import MailServer, serving


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server, in a thread of this process."""
    with serving() as (server, _):
        yield server
