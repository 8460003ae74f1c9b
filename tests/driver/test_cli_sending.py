"""The commands of the kill switch."""

from __future__ import annotations

import json

from tests.driver.command import dripdrop
from tests.engine import TENANT, Engine


def test_the_switch_is_thrown_seen_and_lifted(engine: Engine, dsn: str) -> None:
    engine.author()
    channel = ("channel", "email", "--tenant", TENANT, "--dsn", dsn)
    paused = dripdrop("pause-sending", *channel, "--reason", "wrong prices").stdout
    assert paused.startswith("channel email of tenant acme is paused since 20")
    assert [pause.reason for pause in engine.list_sending_pauses(TENANT)] == ["wrong prices"]
    assert "wrong prices" in dripdrop("pauses", "--tenant", TENANT, "--dsn", dsn).stdout
    (line,) = dripdrop("pauses", "--tenant", TENANT, "--json", "--dsn", dsn).stdout.splitlines()
    assert json.loads(line)["subject"] == "email"
    assert dripdrop("resume-sending", *channel).stdout == (
        "channel email of tenant acme sends again\n"
    )
    assert dripdrop("pauses", "--tenant", TENANT, "--dsn", dsn).stdout == "nothing is paused\n"


def test_resuming_what_was_not_paused_says_so(engine: Engine, dsn: str) -> None:
    result = dripdrop("resume-sending", "everything", "--dsn", dsn)
    assert (result.returncode, result.stdout) == (1, "that was not paused\n")


def test_everything_needs_no_tenant(engine: Engine, dsn: str) -> None:
    assert dripdrop("pause-sending", "everything", "--dsn", dsn).stdout.startswith(
        "everything is paused since"
    )
    assert [pause.scope for pause in engine.list_sending_pauses(TENANT)] == ["everything"]
