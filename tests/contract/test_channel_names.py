"""What a channel is stands in its row: nothing but its providers knows one by its name."""

from __future__ import annotations

import ast
import re
from typing import Any

import psycopg

from scripts.sources import ROOT, without_comments

LISTS = {"senders/shipped.sql", "senders/reply_codes.sql", "documents/accounts.sql"}
"""What comes with DripDrop: channels and providers, their settings, and what their servers say."""


TALES = ("bench/", "demo/")
"""What is sent there is made up, and by e-mail."""


def channels(db: psycopg.Connection[Any]) -> str:
    """Return what matches the name of any channel."""
    return "|".join(row.channel for row in db.execute("select channel from dripdrop.channels()"))


def test_no_function_names_a_channel(db: psycopg.Connection[Any]) -> None:
    quoted = re.compile(rf"'({channels(db)})(?:\.\w+)?'")
    found = {
        path.relative_to(ROOT / "plpgsql").as_posix()
        for path in (ROOT / "plpgsql").glob("*/*.sql")
        if quoted.search(without_comments(path.read_text()))
    }
    assert found == LISTS


def test_no_part_of_the_driver_but_its_providers_names_a_channel(
    db: psycopg.Connection[Any],
) -> None:
    name = re.compile(rf"({channels(db)})(?:\.\w+)?")
    driver = ROOT / "driver/dripdrop"
    found = {
        place
        for path in driver.rglob("*.py")
        if not (place := path.relative_to(driver).as_posix()).startswith(("channels/", *TALES))
        and any(
            isinstance(each, ast.Constant)
            and isinstance(each.value, str)
            and name.fullmatch(each.value)
            for each in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert found == set()
