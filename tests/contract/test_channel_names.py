"""What a channel is stands in its row: no function knows one by its name."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from scripts.sources import ROOT, without_comments

LISTS = {"senders/shipped.sql", "senders/reply_codes.sql", "documents/accounts.sql"}
"""What comes with DripDrop: channels and providers, their settings, and what their servers say."""


def test_no_function_names_a_channel(db: psycopg.Connection[Any]) -> None:
    channels = [row.channel for row in db.execute("select channel from dripdrop.channels()")]
    quoted = re.compile(rf"'({'|'.join(channels)})(?:\.\w+)?'")
    found = {
        path.relative_to(ROOT / "plpgsql").as_posix()
        for path in (ROOT / "plpgsql").glob("*/*.sql")
        if quoted.search(without_comments(path.read_text()))
    }
    assert found == LISTS
