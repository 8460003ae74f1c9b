"""Enrolling a list, or what a query finds."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import (
    InvalidArgument,
    MissingRecipient,
    SequenceNotFound,
    UnknownTimeZone,
)
from tests.engine import TENANT, Engine, after, email


def user(subscriber_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "subscriber_id": subscriber_id,
        "data": {"email": f"{subscriber_id}@example.com"},
    } | fields


def test_everyone_in_the_list_is_enrolled_with_a_first_message(engine: Engine) -> None:
    engine.author()
    enrolled = engine.enroll_many(TENANT, "onboarding", [user("sam"), user("eve")])
    assert {(e.subscriber_type, e.subscriber_id) for e in enrolled} == {
        ("User", "sam"),
        ("User", "eve"),
    }
    for enrollment in enrolled:
        assert [x.step for x in engine.executions(enrollment.id)] == ["welcome"]


def test_the_list_may_come_from_a_query(engine: Engine) -> None:
    engine.author()
    engine.connection.execute("create table users (id int, email text, time_zone text)")
    engine.connection.execute(
        "insert into users values (1, 'sam@example.com', 'Europe/Berlin'), (2, 'eve@x.org', null)"
    )
    enrolled = engine.rows("""
        select e.subscriber_id, e.data ->> 'email' as email
        from dripdrop.enroll_many('acme', 'onboarding', (
          select jsonb_agg(jsonb_build_object('subscriber_id', u.id, 'data', to_jsonb(u)))
          from users as u
        )) as e
        order by 1
    """)
    assert enrolled == [("1", "sam@example.com"), ("2", "eve@x.org")]


def test_an_empty_list_enrols_nobody(engine: Engine) -> None:
    engine.author()
    assert engine.enroll_many(TENANT, "onboarding", []) == []


def test_a_subscriber_twice_in_the_list_is_enrolled_once(engine: Engine) -> None:
    engine.author()
    enrolled = engine.enroll_many(TENANT, "onboarding", [user("sam"), user("sam")])
    assert len({e.id for e in enrolled}) == 1
    assert engine.rows("select count(*) from dripdrop.step_executions")[0].count == 1


def test_who_is_enrolled_already_keeps_the_enrolment(engine: Engine) -> None:
    engine.author()
    sam = engine.join("sam")
    enrolled = engine.enroll_many(TENANT, "onboarding", [user("sam"), user("eve")])
    assert sam in enrolled
    assert len(enrolled) == 2


def test_who_may_not_return_is_left_out(engine: Engine) -> None:
    engine.author(email("welcome"))
    engine.join("sam")
    engine.deliver()
    enrolled = engine.enroll_many(TENANT, "onboarding", [user("sam"), user("eve")])
    assert [e.subscriber_id for e in enrolled] == ["eve"]


def test_types_entry_keys_and_metadata_are_each_elements_own(engine: Engine) -> None:
    engine.author()
    element = user("sam", subscriber_type="Team", entry_key="order-7", metadata={"a": 1})
    (enrolled,) = engine.enroll_many(TENANT, "onboarding", [element])
    assert (enrolled.subscriber_type, enrolled.entry_key) == ("Team", "order-7")
    assert enrolled.metadata == {"a": 1}


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"subscriber_id": "eve", "data": {}}, MissingRecipient),
        ({"subscriber_id": "eve"}, MissingRecipient),
        ({"data": {"email": "eve@example.com"}}, InvalidArgument),
        (user(""), InvalidArgument),
        (user("e" * 501), InvalidArgument),
        (user("eve", data=[]), InvalidArgument),
        (user("eve", metadata=7), InvalidArgument),
        (7, InvalidArgument),
        (None, InvalidArgument),
        (user("eve", data={"email": "eve@x", "time_zone": "foo5"}), UnknownTimeZone),
    ],
)
def test_a_bad_element_is_named_by_its_place_and_nobody_is_enrolled(
    engine: Engine, bad: Any, error: Any
) -> None:
    engine.author()
    with engine.refused(error) as refusal:
        engine.enroll_many(TENANT, "onboarding", [user("sam"), user("tom"), bad, user("zoe")])
    assert "Element 3" in (refusal.value.diag.message_detail or "")


@pytest.mark.parametrize("subscribers", [{}, {"subscriber_id": "sam"}])
def test_the_subscribers_are_a_list(engine: Engine, subscribers: dict[str, str]) -> None:
    engine.author()
    with engine.refused(InvalidArgument):
        engine.enroll_many(TENANT, "onboarding", subscribers)


def test_the_sequence_must_exist(engine: Engine) -> None:
    with engine.refused(SequenceNotFound):
        engine.enroll_many(TENANT, "onboarding", [user("sam")])


@pytest.mark.slow
@pytest.mark.parametrize("reentry", ["never", "after_exit", "always"])
def test_an_open_enrolment_of_many_holds_up_nobody_else(
    engine: Engine, other: Engine, reentry: str
) -> None:
    engine.author(email("welcome"), reentry=reentry)
    other.connection.execute("set lock_timeout = '1s'")
    people = [{"subscriber_id": f"{n}", "data": {"email": f"{n}@example.com"}} for n in range(3000)]
    with engine.connection.transaction():
        assert len(engine.enroll_many(TENANT, "onboarding", people)) == len(people)
        others = [
            {"subscriber_id": f"o{n}", "data": {"email": f"o{n}@example.com"}} for n in range(50)
        ]
        assert len(other.enroll_many(TENANT, "onboarding", others)) == 50


@pytest.mark.parametrize(
    "steps",
    [
        [email("welcome")],
        [email("welcome", timing=after(2, "hours"))],
        [email("welcome", timing=after(2, "days"))],
        [email("welcome", timing=after(2, "business_days"))],
        [email("welcome", timing={"type": "cron", "cron_expression": "0 9 * * 1"})],
        [email("welcome", timing=after(2, "days"), config={"time_zone": "Asia/Tokyo"})],
        [email("welcome", timing={"type": "event", "trigger_event": "paid", "timeout": "1 day"})],
        [
            email(
                "welcome", timing={"type": "event", "trigger_event": "paid", "since": "enrollment"}
            )
        ],
        [
            email("welcome"),
            email(
                "report",
                timing={"type": "cron", "cron_expression": "0 9 * * 1", "recurring": True},
            ),
        ],
        [email("off", active=False), email("welcome", transitions=[{"to": None}])],
    ],
)
@pytest.mark.parametrize("zone", [{}, {"time_zone": "America/New_York"}])
def test_one_is_planned_as_many_are(
    engine: Engine, steps: list[dict[str, Any]], zone: dict[str, str]
) -> None:
    engine.author(*steps)
    data = {"email": "sam@example.com"} | zone
    engine.enroll_many(TENANT, "onboarding", [user("many", data=data)])
    engine.enroll(TENANT, "onboarding", "User", "one", data)
    planned: dict[str, list[Any]] = {"many": [], "one": []}
    for row in engine.rows("""
        select
          e.subscriber_id as who,
          to_jsonb(x) - '{id, enrollment_id}'::text[] as execution
        from dripdrop.step_executions as x
        join dripdrop.enrollments as e on e.id = x.enrollment_id
        order by x.step_id
    """):
        planned[row.who].append(row.execution)
    assert planned["one"] == planned["many"] != []
