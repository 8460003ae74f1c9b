"""How often one person hears from us, and from which sequence."""

from __future__ import annotations

from datetime import timedelta

from tests.capacity.conftest import Sender
from tests.engine import TENANT, Engine, email

WEEK = timedelta(days=7)


def test_a_cap_holds_over_all_sequences(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 2, WEEK)
    for key in ("news", "offers"):
        sender.sequence(key)
        sender.crowd(1, sequence=key)
    sender.crowd(1)
    assert len(sender.work()) == 2
    (waiting,) = sender.waiting()
    assert (waiting.reason, waiting.due_at) == ("frequency_cap", sender.clock.now + WEEK)
    sender.clock.set(waiting.due_at)
    assert len(sender.work()) == 1


def test_a_cap_is_each_persons_own(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    sender.crowd(3)
    assert len(sender.work()) == 3


def test_what_is_transactional_passes_a_cap_for_marketing(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    engine.author(
        email("receipt", config={"kind": "transactional"}),
        email("invoice", config={"kind": "transactional"}),
        email("offer"),
        email("another"),
    )
    engine.join()
    assert len(sender.work()) == 3
    assert sender.waiting()[0].reason == "frequency_cap"


def test_a_cap_for_all_counts_what_is_transactional(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK, kind="all")
    engine.author(email("receipt", config={"kind": "transactional"}), email("offer"))
    engine.join()
    assert len(sender.work()) == 1


def test_a_minimum_distance_is_one_message_per_interval(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "distance", 1, timedelta(hours=4))
    engine.author(email("welcome"), email("tip"), email("offer"))
    engine.join()
    start = sender.clock.now
    left = sender.run(timedelta(days=1))
    assert [at - start for at in left] == [timedelta(hours=n) for n in (0, 4, 8)]


def test_the_higher_priority_takes_the_last_slot(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    sender.crowd(1)
    sender.sequence("urgent", priority=10)
    sender.crowd(1, sequence="urgent")
    sender.work()
    assert [each.sequence for each in sender.waiting()] == ["onboarding"]


def test_a_cap_that_is_dropped_holds_no_more(engine: Engine, sender: Sender) -> None:
    engine.set_frequency_cap(TENANT, "weekly", 1, WEEK)
    assert [cap.key for cap in engine.list_frequency_caps(TENANT)] == ["weekly"]
    engine.drop_frequency_cap(TENANT, "weekly")
    engine.author(email("welcome"), email("tip"))
    engine.join()
    assert len(sender.work()) == 2


def test_of_an_exclusive_group_one_is_heard_at_a_time(engine: Engine, sender: Sender) -> None:
    engine.author(email("welcome"), email("tip", timing="in 1 day"), exclusive_group="lifecycle")
    sam = engine.join()
    sender.sequence("winback", exclusive_group="lifecycle")
    engine.enroll(TENANT, "winback", "User", "sam", data={"email": "sam@example.com"})
    assert len(sender.work()) == 1
    (waiting,) = [each for each in sender.waiting() if each.sequence == "winback"]
    assert waiting.reason == "exclusive_group"
    (gate,) = [g for g in engine.explain(TENANT, waiting.enrollment_id) if g.open is False]
    assert (gate.gate, gate.detail) == ("frequency", "onboarding")
    engine.unenroll(TENANT, sam.id)
    assert [claim.recipient for claim in sender.work()] == ["sam@example.com"]


def test_of_an_exclusive_group_the_higher_priority_is_heard(engine: Engine, sender: Sender) -> None:
    engine.author(email("welcome"), exclusive_group="lifecycle")
    sender.sequence("sale", exclusive_group="lifecycle", priority=5)
    engine.join()
    engine.enroll(TENANT, "sale", "User", "sam", data={"email": "sam@example.com"})
    sender.work()
    sequences = engine.rows(
        "select q.key from dripdrop.message_events as m"
        " join dripdrop.step_executions as x on x.id = m.step_execution_id"
        " join dripdrop.enrollments as e on e.id = x.enrollment_id"
        " join dripdrop.sequences as q on q.id = e.sequence_id"
        " where m.event_type = 'sent' order by m.id"
    )
    assert sequences[0].key == "sale"
