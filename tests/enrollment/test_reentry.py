"""Who may come again: what a sequence's reentry and reentry_interval say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from dripdrop.errors import ReenrollmentNotAllowed
from tests.conftest import Clock
from tests.engine import TENANT, Engine


def left(engine: Engine, **fields: Any) -> Any:
    """Enrol someone and let them go."""
    return engine.unenroll(TENANT, engine.join(**fields).id)


@pytest.mark.parametrize(
    "rule",
    [
        {"reentry": "never"},
        {"reentry": "after_exit", "reentry_interval": "30 days"},
        {"reentry": "always", "reentry_interval": "30 days"},
    ],
)
def test_whatever_the_rule_an_open_enrolment_is_returned(
    engine: Engine, rule: dict[str, str]
) -> None:
    engine.author(**rule)
    assert engine.join().id == engine.join().id


@pytest.mark.parametrize(
    ("reentry", "same_entry", "another_entry"),
    [("never", False, True), ("after_exit", True, True), ("always", True, True)],
)
def test_who_has_left_may_come_again(
    engine: Engine, reentry: str, same_entry: bool, another_entry: bool
) -> None:
    engine.author(reentry=reentry)
    for entry_key, allowed in (("", same_entry), ("order-7", another_entry)):
        former = left(engine, subscriber_id=f"sam-{entry_key}")
        if allowed:
            again = engine.join(f"sam-{entry_key}", entry_key=entry_key)
            assert (again.state, again.id != former.id) == ("active", True)
        else:
            with engine.refused(ReenrollmentNotAllowed):
                engine.join(f"sam-{entry_key}", entry_key=entry_key)


@pytest.mark.parametrize(
    ("reentry", "allowed"), [("never", True), ("after_exit", False), ("always", True)]
)
@pytest.mark.parametrize("paused", [True, False])
def test_another_entry_beside_an_open_one(
    engine: Engine, reentry: str, allowed: bool, paused: bool
) -> None:
    engine.author(reentry=reentry)
    open_one = engine.join()
    if paused:
        engine.pause_enrollment(TENANT, open_one.id)
    if allowed:
        assert engine.join(entry_key="order-7").id != open_one.id
    else:
        with engine.refused(ReenrollmentNotAllowed):
            engine.join(entry_key="order-7")


@pytest.mark.parametrize("reentry", ["after_exit", "always"])
def test_an_interval_counts_from_the_start_of_the_former_enrolment(
    engine: Engine, clock: Clock, reentry: str
) -> None:
    engine.author(reentry=reentry, reentry_interval="30 days")
    former = engine.join()
    clock.advance(days=20)
    engine.unenroll(TENANT, former.id)
    clock.set(former.started_at + timedelta(days=30, seconds=-1))
    with engine.refused(ReenrollmentNotAllowed):
        engine.join()
    clock.advance(seconds=1)
    assert engine.join().id != former.id


@pytest.mark.parametrize(("reentry", "allowed"), [("after_exit", False), ("always", True)])
def test_an_interval_holds_between_entries_only_after_exit(
    engine: Engine, reentry: str, allowed: bool
) -> None:
    engine.author(reentry=reentry, reentry_interval="30 days")
    left(engine)
    if allowed:
        assert engine.join(entry_key="order-7").state == "active"
    else:
        with engine.refused(ReenrollmentNotAllowed):
            engine.join(entry_key="order-7")


def test_the_interval_of_one_subscriber_is_nobody_elses(engine: Engine) -> None:
    engine.author(reentry="after_exit", reentry_interval="30 days")
    left(engine)
    assert engine.join("kim").state == "active"


def test_who_may_not_come_again_is_left_out_of_many(engine: Engine) -> None:
    engine.author()
    left(engine)
    subscribers = [
        {"subscriber_id": key, "data": {"email": "sam@example.com"}} for key in ("sam", "kim")
    ]
    enrolled = engine.enroll_many(TENANT, "onboarding", subscribers)
    assert [e.subscriber_id for e in enrolled] == ["kim"]


@pytest.mark.slow
def test_of_two_entries_at_once_one_gets_in_after_exit(engine: Engine, other: Engine) -> None:
    engine.author(reentry="after_exit")
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.join(entry_key="1")
            second = pool.submit(other.join, entry_key="2")
            engine.wait_until_blocked(other.connection)
        with pytest.raises(ReenrollmentNotAllowed):
            second.result(20)
    assert len(engine.list_active_enrollments(TENANT)) == 1


@pytest.mark.slow
def test_of_two_entries_at_once_the_second_gets_in_when_the_first_rolls_back(
    engine: Engine, other: Engine
) -> None:
    engine.author(reentry="after_exit")
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction(force_rollback=True):
            engine.join(entry_key="1")
            second = pool.submit(other.join, entry_key="2")
            engine.wait_until_blocked(other.connection)
        assert second.result(20).entry_key == "2"


def test_many_entries_of_one_subscriber_in_one_call_are_one_after_exit(engine: Engine) -> None:
    engine.author(reentry="after_exit")
    data = {"email": "sam@example.com"}
    subscribers = [
        {"subscriber_id": "sam", "entry_key": key, "data": data} for key in ("1", "2", "3")
    ]
    engine.enroll_many(TENANT, "onboarding", subscribers)
    assert len(engine.list_active_enrollments(TENANT)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("reentry", ["after_exit", "always"])
def test_who_leaves_at_this_moment_is_asked_to_try_again_or_is_in(
    engine: Engine, other: Engine, reentry: str
) -> None:
    engine.author(reentry=reentry)
    former = engine.join()
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.unenroll(TENANT, former.id)
            again = pool.submit(other.join)
            engine.wait_until_blocked(other.connection)
        try:
            assert again.result(20).id != former.id
        except psycopg.errors.SerializationFailure:
            assert other.join().id != former.id
    assert len(engine.list_active_enrollments(TENANT)) == 1


@pytest.mark.parametrize("reentry", ["after_exit", "always"])
def test_who_comes_again_gets_the_newest_version_from_the_start(
    engine: Engine, clock: Clock, reentry: str
) -> None:
    engine.author(reentry=reentry)
    former = left(engine)
    engine.author(reentry=reentry, description="changed", config={"hop_limit": 7})
    again = engine.join()
    assert again.sequence_version_id != former.sequence_version_id
    assert engine.get_enrollment(TENANT, "onboarding", "User", "sam") == again
