"""Enrolling many, some of whom cannot be: each is told why, and the others are enrolled."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import InvalidArgument, MissingRecipient, SequenceNotFound
from tests.engine import TENANT, Engine, email

GOOD = {"email": "sam@example.com"}


def person(name: Any, data: Any = GOOD, **fields: Any) -> dict[str, Any]:
    return {"subscriber_id": name, "data": data} | fields


FAULTS: list[tuple[Any, str]] = [
    (person(""), "ZD201"),
    ({"data": GOOD}, "ZD201"),
    ("sam", "ZD201"),
    (None, "ZD201"),
    (person("a", "text"), "ZD201"),
    (person("a", GOOD, metadata=[]), "ZD201"),
    (person("a", GOOD, entry_key="x" * 501), "ZD201"),
    (person("a", GOOD | {"long": "x" * 70_000}), "ZD201"),
    (person("a", GOOD | {"many": list(range(2_000))}), "ZD201"),
    (person("a", GOOD | {"time_zone": "Mars/Olympus"}), "ZD204"),
    (person("a", {"email": "nobody"}), "ZD205"),
    (person("a", {}), "ZD205"),
    (person("a", GOOD, event_id="never"), "ZD119"),
]


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize(("wrong", "sqlstate"), FAULTS)
def test_one_fault_is_named_and_the_others_are_enrolled(
    engine: Engine, wrong: Any, sqlstate: str, place: int
) -> None:
    engine.author()
    people: list[Any] = [person("sam"), person("eve", {"email": "eve@example.com"})]
    people.insert(place - 1, wrong)
    rows = engine.enroll_many(TENANT, "onboarding", people, "skip")
    assert [row.place for row in rows] == [1, 2, 3]
    (fault,) = [row for row in rows if row.sqlstate]
    assert (fault.place, fault.sqlstate, fault.enrollment_id) == (place, sqlstate, None)
    assert fault.message
    assert fault.hint
    enrolled = {row.subscriber_id: row.id for row in engine.list_enrollments(TENANT)}
    assert enrolled == {row.subscriber_id: row.enrollment_id for row in rows if not row.sqlstate}
    assert sorted(enrolled) == ["eve", "sam"]
    assert len(engine.deliver()) == 2
    assert engine.ledger() == []


def test_all_faults_are_named_at_once(engine: Engine) -> None:
    engine.author()
    rows = engine.enroll_many(TENANT, "onboarding", [wrong for wrong, _ in FAULTS], "skip")
    assert [row.sqlstate for row in rows] == [sqlstate for _, sqlstate in FAULTS]
    assert engine.list_enrollments(TENANT) == []


def test_who_may_not_enter_again_is_a_fault_and_who_is_there_is_not(engine: Engine) -> None:
    engine.author()
    engine.unenroll(TENANT, engine.join("was").id)
    there = engine.join("is")
    was, there_is, twice = engine.enroll_many(
        TENANT, "onboarding", [person("was"), person("is"), person("is")], "skip"
    )
    assert (was.sqlstate, was.enrollment_id) == ("ZD301", None)
    assert there_is.enrollment_id == twice.enrollment_id == there.id


def test_who_leaves_at_the_entrance_is_no_fault(engine: Engine) -> None:
    pro = {"conditions": [{"field_path": "plan", "operator": "==", "expected_value": "pro"}]}
    engine.author(email("welcome"), entry=[{"to": "welcome", **pro}, {"to": None}])
    (row,) = engine.enroll_many(TENANT, "onboarding", [person("sam", {"plan": "free"})], "skip")
    assert (row.state, row.sqlstate) == ("completed", None)


def test_fail_enrols_nobody(engine: Engine) -> None:
    engine.author()
    with engine.refused(MissingRecipient):
        engine.enroll_many(TENANT, "onboarding", [person("sam"), person("eve", {})], "fail")
    (row,) = engine.enroll_many(TENANT, "onboarding", [person("sam")], "fail")
    assert (row.place, row.state) == (1, "active")


def test_what_concerns_all_of_them_is_refused(engine: Engine) -> None:
    engine.author()
    with engine.refused(SequenceNotFound):
        engine.enroll_many(TENANT, "onbording", [person("sam")], "skip")
    wrong: list[dict[str, Any]] = [{"on_error": "ignore"}, {"subscribers": {}}]
    for each in (*wrong, {"subscribers": None}):
        given: dict[str, Any] = {"subscribers": [person("sam")], "on_error": "skip"} | each
        with engine.refused(InvalidArgument):
            engine.enroll_many(TENANT, "onboarding", **given)
    assert engine.enroll_many(TENANT, "onboarding", [], "skip") == []
