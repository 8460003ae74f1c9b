"""Enrolling one subscriber."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import psycopg
import pytest

from dripdrop.errors import (
    DripdropError,
    InvalidArgument,
    InvalidTenantKey,
    MissingRecipient,
    NoActiveVersion,
    ReenrollmentNotAllowed,
    SequenceInactive,
    SequenceNotFound,
    StepNotFound,
    UnknownTimeZone,
)
from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email, onboarding


def count(engine: Engine, table: str) -> int:
    total: int = engine.rows(f"select count(*) from dripdrop.{table}")[0].count
    return total


def test_enrolling_schedules_the_first_step(engine: Engine) -> None:
    version = engine.author()
    sam = engine.join("sam", metadata={"campaign": "spring"})
    assert (sam.state, sam.sequence_version_id, sam.started_at) == ("active", version.id, START)
    assert sam.metadata == {"campaign": "spring"}
    execution = engine.last(sam.id)
    assert (execution.step, execution.state, execution.due_at) == ("welcome", "scheduled", START)


def test_the_first_step_may_wait(engine: Engine, clock: Clock) -> None:
    engine.author(email("welcome", timing=after(2, "hours")))
    sam = engine.join()
    assert engine.tick().queued == 0
    clock.advance(hours=2)
    assert engine.tick().queued == 1
    assert engine.last(sam.id).state == "queued"


def test_second_enroll_returns_the_first(engine: Engine, clock: Clock) -> None:
    engine.author()
    first = engine.join("sam")
    before = engine.contents()
    clock.advance(hours=1)
    assert engine.join("sam", data={"email": "new@example.com"}) == first
    assert engine.contents() == before


def test_enrolling_a_paused_subscriber_returns_the_paused_enrolment(engine: Engine) -> None:
    engine.author()
    paused = engine.pause_enrollment(TENANT, engine.join().id)
    assert engine.join() == paused


@pytest.mark.parametrize(
    "fields",
    [{"subscriber_id": "eve"}, {"subscriber_type": "Team"}, {"entry_key": "order-7"}],
)
def test_another_subscriber_type_or_entry_key_is_another_enrolment(
    engine: Engine, fields: dict[str, str]
) -> None:
    engine.author()
    entry: dict[str, Any] = {
        "tenant_key": TENANT,
        "sequence": "onboarding",
        "subscriber_type": "User",
        "subscriber_id": "sam",
        "data": {"email": "sam@example.com"},
    }
    assert engine.enroll(**entry).id != engine.enroll(**entry | fields).id


def test_rolling_back_leaves_nothing(engine: Engine) -> None:
    engine.author()
    before = engine.contents()
    with engine.connection.transaction(force_rollback=True):
        engine.join()
    assert engine.contents() == before


@pytest.mark.slow
def test_two_at_once_get_the_same_enrolment_and_one_message(engine: Engine, other: Engine) -> None:
    engine.author()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            first = engine.join()
            second = pool.submit(other.join)
            engine.wait_until_blocked(other.connection)
        assert second.result() == first
    assert (count(engine, "enrollments"), count(engine, "step_executions")) == (1, 1)


@pytest.mark.slow
def test_the_second_of_two_at_once_enrols_when_the_first_rolls_back(
    engine: Engine, other: Engine
) -> None:
    engine.author()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction(force_rollback=True):
            first = engine.join()
            second = pool.submit(other.join)
            engine.wait_until_blocked(other.connection)
        assert second.result().id != first.id
    assert (count(engine, "enrollments"), count(engine, "step_executions")) == (1, 1)


@pytest.mark.slow
def test_at_repeatable_read_the_second_of_two_at_once_is_told_to_retry(
    engine: Engine, other: Engine
) -> None:
    engine.author()
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(psycopg.errors.SerializationFailure),
        other.connection.transaction(),
    ):
        other.connection.execute("set transaction isolation level repeatable read")
        other.rows("select")
        with engine.connection.transaction():
            engine.join()
            second = pool.submit(other.join)
            engine.wait_until_blocked(other.connection)
        second.result()
    assert count(engine, "enrollments") == 1


def test_a_subscriber_whose_enrolment_has_ended_does_not_return(engine: Engine) -> None:
    engine.author(email("welcome"))
    engine.join()
    engine.deliver()
    with engine.refused(ReenrollmentNotAllowed):
        engine.join()


def test_a_subscriber_who_was_unenrolled_does_not_return(engine: Engine) -> None:
    engine.author()
    engine.unenroll(TENANT, engine.join().id)
    with engine.refused(ReenrollmentNotAllowed):
        engine.join()


def test_a_new_entry_key_lets_a_subscriber_return(engine: Engine) -> None:
    engine.author()
    engine.unenroll(TENANT, engine.join().id)
    assert engine.join(entry_key="order-7").state == "active"


def test_a_sequence_may_let_subscribers_return_once_they_have_left(engine: Engine) -> None:
    engine.author(reentry="after_exit")
    first = engine.join()
    assert engine.join().id == first.id
    engine.unenroll(TENANT, first.id)
    second = engine.join()
    assert second.id != first.id
    assert engine.last(second.id).step == "welcome"


def test_a_subscriber_may_start_with_a_later_step(engine: Engine) -> None:
    engine.author()
    assert engine.last(engine.join(starting_step="tip").id).step == "tip"


def test_inactive_steps_are_passed_over_at_the_start(engine: Engine) -> None:
    engine.author(email("welcome", active=False), email("tip"))
    assert engine.last(engine.join().id).step == "tip"


def test_a_webhook_first_needs_no_address(engine: Engine) -> None:
    webhook = {"key": "hook", "channel": "webhook", "template": {"body": "{}"}}
    engine.author(webhook)
    assert engine.last(engine.join(data={}).id).channel == "webhook"


def test_a_step_may_find_its_address_under_another_key(engine: Engine) -> None:
    engine.author(email("welcome", config={"recipient_key": "work_email"}))
    sam = engine.join(data={"work_email": " Sam@Example.com "})
    engine.tick()
    assert engine.last(sam.id).recipient == "sam@example.com"


def test_an_unknown_sequence_is_not_found(engine: Engine) -> None:
    engine.author()
    with engine.refused(SequenceNotFound):
        engine.enroll(TENANT, "offboarding", "User", "sam", {"email": "sam@example.com"})


def test_a_sequence_without_an_active_version_takes_nobody(engine: Engine) -> None:
    engine.apply(TENANT, onboarding(activate=False))
    with engine.refused(NoActiveVersion):
        engine.join()


def test_a_sequence_that_is_switched_off_takes_nobody(engine: Engine) -> None:
    engine.author()
    engine.rows("update dripdrop.sequences set active = false returning 1")
    with engine.refused(SequenceInactive):
        engine.join()


@pytest.mark.parametrize("starting_step", ["nowhere", ""])
def test_an_unknown_starting_step_is_not_found(engine: Engine, starting_step: str) -> None:
    engine.author()
    with engine.refused(StepNotFound):
        engine.join(starting_step=starting_step)


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"tenant_key": ":global"}, InvalidTenantKey, "tenant_key"),
        ({"subscriber_id": ""}, InvalidArgument, "subscriber_id"),
        ({"subscriber_id": None}, InvalidArgument, "subscriber_id"),
        ({"subscriber_type": ""}, InvalidArgument, "subscriber_id"),
        ({"tenant_key": "t" * 501}, InvalidTenantKey, "tenant_key"),
        ({"subscriber_type": "s" * 501}, InvalidArgument, "subscriber_type"),
        ({"subscriber_id": "ü" * 251}, InvalidArgument, "subscriber_id"),
        ({"entry_key": "s" * 501}, InvalidArgument, "entry_key"),
        ({"data": []}, InvalidArgument, "data"),
        ({"data": None}, InvalidArgument, "data"),
        ({"metadata": []}, InvalidArgument, "metadata"),
        ({"data": {}}, MissingRecipient, "data"),
        ({"data": {"email": None}}, MissingRecipient, "data"),
        ({"data": {"email": ""}}, MissingRecipient, "data"),
        ({"data": {"email": "sam"}}, MissingRecipient, "data"),
        ({"data": {"email": "sam@x, eve@x"}}, MissingRecipient, "data"),
        ({"data": {"email": "sam@x\r\nBcc: eve@x"}}, MissingRecipient, "data"),
        ({"data": {"email": "s" * 250 + "@x.org"}}, MissingRecipient, "data"),
        ({"data": {"email": "sam@x", "time_zone": "foo5"}}, UnknownTimeZone, "data.time_zone"),
        ({"data": {"email": "sam@x", "timezone": "Mars"}}, UnknownTimeZone, "data.time_zone"),
    ],
)
def test_a_bad_argument_is_named(
    engine: Engine, fields: dict[str, Any], error: type[DripdropError], field: str
) -> None:
    engine.author()
    entry: dict[str, Any] = {
        "tenant_key": TENANT,
        "sequence": "onboarding",
        "subscriber_type": "User",
        "subscriber_id": "sam",
        "data": {"email": "sam@example.com"},
    }
    with engine.refused(error) as refusal:
        engine.enroll(**entry | fields)
    assert refusal.value.diag.column_name == field


def test_the_longest_names_fit_the_index(engine: Engine) -> None:
    names = Random(7)
    tenant, kind, subscriber, entry = (
        "".join(chr(names.randrange(0x10000, 0x110000)) for _ in range(125)) for _ in range(4)
    )
    engine.create_channel_adapter(tenant, "email", "email", "smtp", is_default=True)
    engine.apply(tenant, onboarding())
    data = {"email": "sam@example.com"}
    enrolled = engine.enroll(tenant, "onboarding", kind, subscriber, data, entry_key=entry)
    assert enrolled == engine.get_enrollment(tenant, "onboarding", kind, subscriber, entry)


def test_a_missing_recipient_says_which_step_wants_which_field(engine: Engine) -> None:
    engine.author(email("welcome", config={"recipient_key": "work_email"}))
    with engine.refused(MissingRecipient) as refusal:
        engine.join()
    hint = refusal.value.diag.message_hint or ""
    assert "data.work_email" in hint
    assert '"welcome"' in hint


@pytest.mark.slow
def test_an_enrolment_that_ends_at_this_moment_is_no_way_back_in(
    engine: Engine, other: Engine
) -> None:
    engine.author()
    sam = engine.join()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.unenroll(TENANT, sam.id)
            again = pool.submit(other.join)
            engine.wait_until_blocked(other.connection)
        with pytest.raises(psycopg.errors.SerializationFailure):
            again.result(20)
    assert count(engine, "enrollments") == 1
    with engine.refused(ReenrollmentNotAllowed):
        other.join()


def test_data_that_is_nested_beyond_measure_is_refused(engine: Engine) -> None:
    engine.author()
    nested: dict[str, Any] = {}
    for _ in range(60):
        nested = {"deeper": nested}
    with engine.refused(InvalidArgument):
        engine.join(data={"email": "sam@example.com", "nested": nested})


@pytest.mark.parametrize(
    "blank", [{"time_zone": ""}, {"time_zone": " "}, {"time_zone": None}, {"timezone": ""}]
)
def test_a_blank_time_zone_is_as_if_missing(engine: Engine, blank: dict[str, Any]) -> None:
    engine.author(email("welcome", timing="every day at 9am"), time_zone="Asia/Tokyo")
    sam = engine.join(data={"email": "sam@example.com"} | blank)
    (welcome,) = engine.executions(sam.id)
    assert welcome.due_at.hour == 0  # 9 in the morning in Tokyo


def test_one_blank_time_zone_behind_another_is_passed_over(engine: Engine) -> None:
    engine.author(email("welcome", timing="every day at 9am"))
    sam = engine.join(data={"email": "sam@example.com", "time_zone": "", "timezone": "Asia/Tokyo"})
    (welcome,) = engine.executions(sam.id)
    assert welcome.due_at.hour == 0


def test_what_is_null_in_the_list_is_as_if_missing(engine: Engine) -> None:
    engine.author()
    (sam,) = engine.enroll_many(
        TENANT,
        "onboarding",
        [
            {
                "subscriber_id": "sam",
                "entry_key": None,
                "metadata": None,
                "data": {"email": "sam@example.com", "time_zone": None},
            }
        ],
    )
    assert (sam.subscriber_type, sam.entry_key, sam.metadata) == ("User", "", {})
