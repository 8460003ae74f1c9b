"""The commands that look after people."""

from __future__ import annotations

import json

from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine


def test_what_somebody_is_in_and_was_sent_is_listed(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.join("sam")
    engine.pause_enrollment(TENANT, engine.join("eve").id)
    where = ("--tenant", TENANT, "--dsn", dsn)
    (line,) = dripdrop("enrollments", "--subscriber", "sam", "--json", *where).stdout.splitlines()
    assert json.loads(line)["sequence"] == "onboarding"
    listed = dripdrop("enrollments", "--sequence", "onboarding", "--state", "paused", *where)
    assert "eve" in listed.stdout
    assert "sam" not in listed.stdout
    assert "welcome" in dripdrop("messages", "--subscriber", "User/sam", *where).stdout
    assert dripdrop("messages", "--subscriber", "Lead/sam", *where).stdout == "there is nothing\n"


def test_somebody_is_printed_and_erased(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.join("sam")
    where = ("User/sam", "--tenant", TENANT, "--dsn", dsn)
    document = json.loads(dripdrop("export", *where).stdout)
    assert document["enrollments"][0]["data"] == {"email": "sam@example.com"}
    refused = dripdrop("erase", *where, given="n\n")
    assert refused.returncode == 1
    assert len(engine.list_enrollments(TENANT, "User", "sam")) == 1
    assert "enrollments: 1\n" in dripdrop("erase", *where, "--yes").stdout
    assert engine.list_enrollments(TENANT, "User", "sam") == []
