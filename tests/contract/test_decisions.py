"""A decision is put together in one place, with a name for each of its parts."""

from __future__ import annotations

import re

from scripts.sources import ROOT, without_comments

_FUNCTION = re.compile(r"(?=^create or replace function )", re.M)
_MADE = re.compile(r"\)::dripdrop\._decision\b(?!\[)")
_RETURNED = re.compile(r"\nreturns setof dripdrop\._decision\nlanguage sql\n")


def functions() -> list[tuple[str, str]]:
    """Return the functions of plpgsql/, each with its file."""
    return [
        (path.stem, function)
        for path in (ROOT / "plpgsql").rglob("*.sql")
        for function in _FUNCTION.split(without_comments(path.read_text()))
    ]


def test_a_decision_is_made_by_one_function() -> None:
    assert [file for file, text in functions() if _MADE.search(text)] == ["decisions"]


def test_whoever_returns_decisions_names_what_they_are_made_of() -> None:
    returning = [text for _, text in functions() if _RETURNED.search(text)]
    assert len(returning) > 1
    assert all("dripdrop._as_decision(" in text for text in returning)


def test_facts_are_named_in_the_order_of_their_type() -> None:
    types = (ROOT / "sql/types.sql").read_text()
    (body,) = re.findall(r"create type dripdrop\._fact as \((.*?)\n\);", types, re.S)
    declared = re.findall(r"^  (\w+) ", body, re.M)
    (function,) = [text for file, text in functions() if "setof dripdrop._fact\n" in text]
    _, _, found = function.rpartition("\n  select\n")
    selected, _, _ = found.partition("\n  from ")
    assert re.findall(r"\bas (\w+)(?:,|$)", selected) == declared
