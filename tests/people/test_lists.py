"""What somebody is in, and what they were sent: found, paged, and of nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import InvalidArgument, SequenceNotFound
from tests.conftest import Clock
from tests.engine import TENANT, Engine, onboarding


def pages(listed: Any, key: str, size: int) -> list[Any]:
    """Return all rows of a list, read page by page."""
    rows: list[Any] = []
    after: dict[str, Any] = {}
    while page := listed(page_size=size, **after):
        assert len(page) <= size
        rows += page
        after = {"after": getattr(page[-1], key)}
    return rows


def test_a_persons_enrolments_are_of_all_sequences_and_states(engine: Engine) -> None:
    engine.author(reentry="after_exit")
    engine.apply(TENANT, onboarding(key="trial"))
    ended = engine.unenroll(TENANT, engine.join("sam").id)
    paused = engine.pause_enrollment(TENANT, engine.join("sam").id)
    active = engine.enroll(TENANT, "trial", "User", "sam", {"email": "sam@example.com"})
    engine.join("eve")
    listed = engine.list_enrollments(TENANT, "User", "sam")
    assert [e.id for e in listed] == [active.id, paused.id, ended.id]
    assert [(e.sequence, e.version) for e in listed] == [
        ("trial", 1),
        ("onboarding", 1),
        ("onboarding", 1),
    ]
    assert engine.list_enrollments(TENANT, "User", "sam", "trial") == listed[:1]
    assert engine.list_enrollments(TENANT, "User", "sam", state="paused") == listed[1:2]
    assert engine.list_enrollments(TENANT, "Lead", "sam") == []
    assert engine.list_enrollments("other", "User", "sam") == []


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_sequences_enrolments_come_page_by_page_the_newest_first(
    engine: Engine, size: int
) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    people = [engine.join(f"p{number}") for number in range(5)]
    engine.enroll(TENANT, "trial", "User", "eve", {"email": "eve@example.com"})
    engine.pause_enrollment(TENANT, people[1].id)
    engine.unenroll(TENANT, people[3].id)
    listed = pages(
        lambda **page: engine.list_enrollments(TENANT, sequence="onboarding", **page), "id", size
    )
    assert [e.subscriber_id for e in listed] == ["p4", "p3", "p2", "p1", "p0"]
    everybody = pages(lambda **page: engine.list_enrollments(TENANT, **page), "id", size)
    assert [e.subscriber_id for e in everybody] == ["eve", "p4", "p3", "p2", "p1", "p0"]
    paused = engine.list_enrollments(TENANT, sequence="onboarding", state="paused")
    assert [e.subscriber_id for e in paused] == ["p1"]


def test_a_persons_messages_are_the_log_of_all_their_enrolments(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    engine.join("sam")
    engine.join("eve")
    engine.deliver(provider_message_id="<1@mail>")
    engine.enroll(TENANT, "trial", "User", "sam", {"email": "sam@example.com"}, "order-7")
    log = engine.list_messages(TENANT, "User", "sam")
    assert [(m.sequence, m.step, m.state, m.entry_key) for m in log] == [
        ("trial", "welcome", "scheduled", "order-7"),
        ("onboarding", "tip", "scheduled", ""),
        ("onboarding", "welcome", "sent", ""),
    ]
    sent = log[-1]
    assert (sent.recipient, sent.sender, sent.ended_at) == ("sam@example.com", "email", clock.now)
    assert sent.provider_message_id == "<1@mail>"
    assert engine.list_messages(TENANT, "User", "sam", "onboarding") == log[1:]
    assert engine.list_messages(TENANT, "User", "sam", state="sent") == [sent]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_sequences_messages_come_page_by_page_the_newest_first(engine: Engine, size: int) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    for number in range(3):
        engine.join(f"p{number}")
    engine.enroll(TENANT, "trial", "User", "p0", {"email": "p0@example.com"})
    log = pages(
        lambda **page: engine.list_messages(TENANT, sequence="onboarding", **page),
        "execution_id",
        size,
    )
    assert [m.subscriber_id for m in log] == ["p2", "p1", "p0"]
    theirs = pages(
        lambda **page: engine.list_messages(TENANT, "User", "p0", **page), "execution_id", size
    )
    assert [m.sequence for m in theirs] == ["trial", "onboarding"]


@pytest.mark.parametrize("name", ["list_enrollments", "list_messages"])
def test_what_cannot_be_listed_is_refused(engine: Engine, name: str) -> None:
    engine.author()
    listed = getattr(engine, name)
    with engine.refused(SequenceNotFound):
        listed(TENANT, sequence="onbording")
    for wrong in (
        {"subscriber_id": "sam"},
        {"subscriber_type": "User"},
        {"state": "open"},
        {"page_size": 0},
        {"page_size": 10_001},
    ):
        with engine.refused(InvalidArgument):
            listed(TENANT, **wrong)


def test_ids_may_be_what_the_application_has(engine: Engine) -> None:
    engine.author()
    sam = engine.join("42")
    (listed,) = engine.list_enrollments(TENANT, "User", 42)
    (row,) = engine.rows("select * from dripdrop.list_enrollments('acme', 'User', 42::bigint)")
    assert row == listed
    assert row.id == sam.id
    (message,) = engine.rows("select * from dripdrop.list_messages('acme', 'User', 42::bigint)")
    assert message.enrollment_id == sam.id
