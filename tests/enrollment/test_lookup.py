"""Finding enrolments."""

from __future__ import annotations

from tests.conftest import Clock
from tests.engine import TENANT, Engine, onboarding


def test_the_open_enrolment_is_found(engine: Engine) -> None:
    engine.author()
    sam = engine.join("sam")
    assert engine.get_enrollment(TENANT, "onboarding", "User", "sam") == sam


def test_an_entry_key_finds_its_own_enrolment(engine: Engine) -> None:
    engine.author()
    engine.join("sam")
    order = engine.join("sam", entry_key="order-7")
    assert engine.get_enrollment(TENANT, "onboarding", "User", "sam", "order-7") == order


def test_the_open_enrolment_comes_before_ended_ones(engine: Engine, clock: Clock) -> None:
    engine.author(reentry="after_exit")
    engine.unenroll(TENANT, engine.join("sam").id)
    clock.advance(days=-1)
    again = engine.join("sam")
    assert engine.get_enrollment(TENANT, "onboarding", "User", "sam") == again


def test_without_an_open_enrolment_the_latest_is_found(engine: Engine, clock: Clock) -> None:
    engine.author(reentry="after_exit")
    for _ in range(2):
        latest = engine.unenroll(TENANT, engine.join("sam").id)
        clock.advance(days=1)
    assert engine.get_enrollment(TENANT, "onboarding", "User", "sam") == latest


def test_who_was_never_enrolled_is_no_row(engine: Engine) -> None:
    engine.author()
    assert engine.get_enrollment(TENANT, "onboarding", "User", "nobody") is None


def test_the_list_holds_the_active_ones_in_the_order_they_came(
    engine: Engine, clock: Clock
) -> None:
    engine.author()
    people = []
    for name in ("sam", "eve", "tom", "zoe"):
        people.append(engine.join(name))
        clock.advance(minutes=1)
    engine.pause_enrollment(TENANT, people[1].id)
    engine.unenroll(TENANT, people[2].id)
    listed = engine.list_active_enrollments(TENANT)
    assert [e.subscriber_id for e in listed] == ["sam", "zoe"]


def test_the_list_may_be_of_one_sequence(engine: Engine) -> None:
    engine.author()
    engine.apply(TENANT, onboarding(key="trial"))
    engine.join("sam")
    trial = engine.enroll(TENANT, "trial", "User", "sam", {"email": "sam@example.com"})
    assert engine.list_active_enrollments(TENANT, "trial") == [trial]
    assert len(engine.list_active_enrollments(TENANT)) == 2
