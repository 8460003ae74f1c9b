"""A server that is away: its sender rests, one message tries it, and nobody pays for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import Clock
from tests.engine import TENANT, Engine, email

HOOK = {"key": "ping", "channel": "webhook", "template": {"url": "https://{{ host }}/in"}}
SENDERS_AFFAIRS = ["unreachable", "rate_limited", "auth_error"]


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with a sequence of one message."""
    engine.author(email("welcome"))
    return engine


def circuit(engine: Engine) -> Any:
    """Return the newest circuit."""
    return engine.list_circuits(TENANT)[0]


def crowd(engine: Engine, count: int) -> None:
    """Enrol so many people."""
    for number in range(count):
        engine.join(f"user{number}")


def states(engine: Engine) -> dict[tuple[str, str | None], int]:
    """Count the executions by state and reason."""
    return {
        (row.state, row.reason): row.count
        for row in engine.rows(
            "select state, reason, count(*) from dripdrop.step_executions group by 1, 2"
        )
    }


@pytest.mark.parametrize("outcome", SENDERS_AFFAIRS)
def test_the_servers_fault_opens_the_circuit_and_costs_the_message_nothing(
    journey: Engine, clock: Clock, outcome: str
) -> None:
    enrollment = journey.join()
    journey.deliver(outcome, code="smtp_421", detail="closing")
    opened = circuit(journey)
    assert (opened.state, opened.reason, opened.detail) == ("resting", "smtp_421", "closing")
    assert opened.until == clock.now + timedelta(seconds=30)
    clock.advance(seconds=5)
    assert journey.claim() == []
    waiting = journey.last(enrollment.id)
    assert (waiting.state, waiting.reason, waiting.retry_count) == ("scheduled", "circuit_open", 0)
    assert (circuit(journey).waiting, journey.ledger()) == (1, [])


@pytest.mark.slow
def test_the_rest_doubles_to_a_quarter_of_an_hour_and_one_message_tries_each_time(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 20)
    journey.record(journey.claim_one(), "unreachable")
    for minutes in (0.5, 1, 2, 4, 8, 15, 15):
        until = circuit(journey).until
        assert until == clock.now + timedelta(minutes=minutes)
        clock.set(until - timedelta(seconds=1))
        assert journey.claim() == []
        clock.set(until)
        (probe,) = journey.claim()
        assert journey.claim() == []
        assert circuit(journey).state == "probing"
        journey.record([probe], "unreachable")
    assert circuit(journey).probes == 7
    assert (
        sum(row.retry_count for row in journey.rows("select * from dripdrop.step_executions")) == 0
    )


def test_success_closes_the_circuit_and_all_that_waited_leaves(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 20)
    journey.record(journey.claim_one(), "unreachable")
    clock.advance(seconds=30)
    (probe,) = journey.claim()
    journey.record([probe])
    assert circuit(journey).ended_at == clock.now
    assert len(journey.deliver()) == 19
    assert states(journey) == {("sent", "sent"): 20}
    assert journey.ledger() == []


def test_a_server_that_refuses_the_message_answers(journey: Engine, clock: Clock) -> None:
    crowd(journey, 2)
    journey.record(journey.claim_one(), "unreachable")
    clock.advance(seconds=30)
    journey.record(journey.claim(), "failed", code="smtp_554")
    assert circuit(journey).ended_at is not None


def test_a_probe_that_was_not_handed_over_leaves_it_to_another(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 2)
    journey.record(journey.claim_one(), "unreachable")
    clock.advance(seconds=30)
    (probe,) = journey.claim()
    journey.record([probe], "released")
    assert len(journey.claim()) == 1
    assert circuit(journey).openings == 1


def test_a_probe_that_never_comes_back_is_replaced_after_five_minutes(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 2)
    journey.record(journey.claim_one(), "unreachable")
    clock.advance(seconds=30)
    assert len(journey.claim()) == 1
    clock.advance(minutes=4)
    assert journey.claim() == []
    clock.advance(minutes=1)
    assert len(journey.claim()) == 1


def test_a_wait_that_the_server_asks_for_is_kept(journey: Engine, clock: Clock) -> None:
    journey.join()
    journey.deliver("rate_limited", code="http_429", retry_after=600)
    assert circuit(journey).until == clock.now + timedelta(minutes=10)


DAY = {"code": "http_429", "retry_after": 86400}


def test_one_reply_alone_rests_a_sender_for_no_more_than_a_quarter_of_an_hour(
    journey: Engine, clock: Clock
) -> None:
    bad = journey.join("bad")
    journey.deliver("rate_limited", **DAY)
    for _ in range(3):
        assert circuit(journey).until == clock.now + timedelta(minutes=15)
        clock.set(circuit(journey).until)
        journey.deliver("rate_limited", **DAY)
    journey.join("good")
    clock.set(circuit(journey).until)
    (probe,) = journey.claim()
    assert probe.recipient == "good@example.com"
    journey.record([probe])
    journey.deliver("rate_limited", **DAY)
    assert circuit(journey).ended_at is not None
    assert journey.last(bad.id).due_at == clock.now + timedelta(hours=24)


def test_a_long_wait_that_two_messages_are_asked_for_is_kept(journey: Engine, clock: Clock) -> None:
    crowd(journey, 2)
    journey.record(journey.claim_one(), "rate_limited", **DAY)
    clock.set(circuit(journey).until)
    journey.deliver("rate_limited", **DAY)
    assert circuit(journey).until == clock.now + timedelta(days=1)


def test_a_server_that_takes_others_at_the_same_time_is_not_away(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 2)
    lost, taken = journey.claim()
    journey.complete_sends(
        [
            {"execution": str(lost.execution_id), "fence": lost.fence, "outcome": "unreachable"},
            {"execution": str(taken.execution_id), "fence": taken.fence, "outcome": "sent"},
        ]
    )
    assert journey.list_circuits(TENANT) == []
    assert states(journey) == {("scheduled", "retry"): 1, ("sent", "sent"): 1}


def test_an_old_fault_does_not_open_a_circuit_that_has_closed(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 3)
    late, first, _ = journey.claim()
    journey.record([first], "unreachable")
    journey.connection.execute(
        "update dripdrop.step_executions set lease_until = %s where id = %s",
        [clock.now + timedelta(hours=1), late.execution_id],
    )
    clock.advance(seconds=30)
    journey.deliver()
    assert circuit(journey).ended_at is not None
    journey.record([late], "unreachable")
    assert circuit(journey).ended_at is not None


def test_the_third_answer_missing_in_a_row_opens_it(journey: Engine, clock: Clock) -> None:
    crowd(journey, 5)
    claims = journey.claim()
    journey.record(claims[:1], "maybe_sent")
    journey.record(claims[1:2], "maybe_sent")
    journey.record(claims[2:3], "sent")
    journey.record(claims[3:4], "maybe_sent")
    assert journey.list_circuits(TENANT) == []
    crowd_again = claims[4:]
    journey.record(crowd_again, "maybe_sent")
    assert journey.list_circuits(TENANT) == []
    journey.join("last")
    journey.deliver("maybe_sent", code="timeout")
    assert (circuit(journey).state, circuit(journey).reason) == ("resting", "timeout")


def test_one_message_that_no_server_takes_does_not_stop_its_senders_others(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 5)
    (bad,) = journey.claim_one()
    journey.record([bad], "auth_error", code="smtp_554")
    for _ in range(4):
        clock.advance(minutes=1)
        claims = journey.claim()
        journey.record([each for each in claims if each.execution_id != bad.execution_id])
        journey.record(
            [each for each in claims if each.execution_id == bad.execution_id], "auth_error"
        )
    assert circuit(journey).ended_at is not None
    assert len(journey.list_circuits(TENANT)) == 1
    waiting = journey.rows("select * from dripdrop.step_executions where id = %s", bad.execution_id)
    assert waiting[0].state == "scheduled"
    assert waiting[0].retry_count > 0
    assert states(journey)["sent", "sent"] == 4


def test_a_refusal_of_one_recipient_is_no_word_on_a_server_that_has_just_taken_others(
    journey: Engine, clock: Clock
) -> None:
    journey.join("good")
    journey.deliver()
    journey.join("bad")
    refusal = {"stage": "recipient", "code": "smtp_550", "detail": "5.7.1 rejected per SPF policy"}
    journey.deliver("refused", **refusal)
    assert journey.list_circuits(TENANT) == []
    clock.advance(minutes=10)
    journey.deliver("refused", **refusal)
    assert circuit(journey).state == "resting"


def test_a_connection_lost_at_one_recipient_is_no_word_on_a_server_that_has_just_taken_others(
    journey: Engine, clock: Clock
) -> None:
    journey.join("good")
    journey.deliver()
    enrollment = journey.join("bad")
    clock.advance(seconds=29)
    lost = {"code": "connection_lost", "stage": "recipient"}
    journey.deliver("unreachable", **lost)
    assert journey.list_circuits(TENANT) == []
    waiting = journey.last(enrollment.id)
    assert (waiting.state, waiting.reason, waiting.retry_count) == (
        "scheduled",
        "connection_lost",
        1,
    )
    clock.advance(minutes=2)
    journey.deliver("unreachable", **lost)
    assert circuit(journey).state == "resting"
    assert journey.last(enrollment.id).retry_count == 1


def test_a_connection_that_fails_opens_the_circuit_whatever_was_taken_before(
    journey: Engine,
) -> None:
    journey.join("good")
    journey.deliver()
    journey.join("next")
    journey.deliver("unreachable", code="connect_error")
    assert circuit(journey).state == "resting"


def test_a_sender_of_a_rotation_that_is_away_passes_its_messages_on(
    engine: Engine, clock: Clock
) -> None:
    first = engine.create_channel_adapter(
        TENANT, "one", "email", "smtp", config={"host": "one.example", "from": "a@acme.example"}
    )
    engine.create_channel_adapter(
        TENANT, "two", "email", "smtp", config={"host": "two.example", "from": "a@acme.example"}
    )
    engine.author(email("welcome", config={"channel_adapter_rotation": ["one", "two"]}))
    crowd(engine, 10)
    mine = [claim for claim in engine.claim() if claim.adapter_id == first.id]
    assert mine
    engine.record(mine, "unreachable")
    clock.advance(seconds=5)
    again = engine.claim()
    assert len(again) == len(mine)
    assert first.id not in {claim.adapter_id for claim in again}


def test_one_receivers_host_that_is_away_rests_no_other(engine: Engine, clock: Clock) -> None:
    engine.author(HOOK)
    for host in ("down.example", "up.example"):
        engine.join(host, data={"host": host})
    engine.tick()
    results = [
        {
            "execution": str(claim.execution_id),
            "fence": claim.fence,
            "message": claim.message_id,
            "payload": {"url": f"https://{claim.variables['host']}/in"},
        }
        for claim in engine.claim_renders()
    ]
    engine.complete_renders(results)
    claims = {claim.payload["url"]: claim for claim in engine.claim_sends("webhook")}
    engine.record([claims["https://down.example/in"]], "unreachable", code="connect_error")
    engine.record([claims["https://up.example/in"]])
    (open_now,) = engine.list_circuits(TENANT)
    assert (open_now.host, open_now.state) == ("down.example", "resting")
    waiting = engine.rows("select * from dripdrop.step_executions where state = 'scheduled'")[0]
    assert waiting.retry_count == 1


def test_opening_and_closing_is_said_on_the_connection(journey: Engine, clock: Clock) -> None:
    said: list[str] = []
    journey.connection.add_notice_handler(
        lambda diagnostic: said.append(str(diagnostic.message_primary))
    )
    crowd(journey, 3)
    journey.record(journey.claim(), "unreachable", code="connect_error")
    assert said == ['sender "email" rests until 2026-03-02 09:00:30Z (connect_error)']
    clock.advance(seconds=30)
    journey.deliver()
    assert said[1:] == ['sender "email" answers again']


def test_explain_names_the_circuit_and_until_when(journey: Engine, clock: Clock) -> None:
    enrollment = journey.join()
    journey.deliver("unreachable", code="connect_error")
    clock.advance(seconds=5)
    journey.tick()
    (gate,) = [row for row in journey.explain(TENANT, enrollment.id) if row.gate == "circuit"]
    assert (gate.open, gate.reason, gate.detail) == (False, "circuit_open", "email: connect_error")
    assert gate.until == clock.now + timedelta(seconds=25)
    assert gate.next_action == "hold"


def test_operators_rests_are_untouched(journey: Engine) -> None:
    journey.join()
    before = journey.get_default_adapter(TENANT, "email")
    journey.deliver("unreachable")
    after = journey.get_default_adapter(TENANT, "email")
    assert (after.health_state, after.resting_until) == (before.health_state, before.resting_until)


def test_without_a_sender_messages_wait_until_there_is_one(engine: Engine) -> None:
    engine.author(email("welcome"))
    enrollment = engine.join()
    mail = engine.get_default_adapter(TENANT, "email")
    engine.update_channel_adapter(TENANT, mail.id, active=False)
    assert engine.tick().held == 1
    assert engine.last(enrollment.id).reason == "no_adapter"
    assert engine.enrollment(enrollment.id).state == "active"
    assert engine.ledger() == []
    engine.reconcile()
    assert engine.claim() == []
    engine.update_channel_adapter(TENANT, mail.id, active=True)
    assert len(engine.deliver()) == 1


UNKNOWN_WORDS = {"stage": "recipient", "code": "smtp_550"}


@pytest.mark.parametrize(
    "refusal",
    [
        {"detail": "5.1.1 <{}>: User unknown (id 7f3a)"},
        {"detail": "nobody knows these words"},
        {"stage": "request", "code": "http_404", "detail": "x"},
    ],
)
def test_who_refuses_everybody_in_the_same_way_speaks_of_the_sender(
    journey: Engine, clock: Clock, refusal: dict[str, str]
) -> None:
    crowd(journey, 40)
    for number, each in enumerate(journey.claim()):
        said = refusal["detail"].format(each.recipient) + f" ({number}f3a)"
        journey.record([each], "refused", **UNKNOWN_WORDS | refusal | {"detail": said})
    assert circuit(journey).state == "resting"
    assert states(journey)["failed", circuit(journey).reason] == 4
    assert len(journey.rows("select * from dripdrop.suppressions")) <= 4


def test_who_tries_a_server_that_refuses_everybody_and_is_refused_lets_it_rest_for_longer(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 8)
    refusal = UNKNOWN_WORDS | {"detail": "nobody knows these words"}
    journey.record(journey.claim(), "refused", **refusal)
    clock.set(circuit(journey).until)
    crowd(journey, 9)
    journey.deliver("refused", **refusal)
    assert circuit(journey).until == clock.now + timedelta(minutes=1)
    assert ("failed", "smtp_550") not in states(journey)


def test_one_batch_in_which_all_are_refused_alike_costs_nobody_anything(journey: Engine) -> None:
    crowd(journey, 8)
    journey.record(journey.claim(), "refused", **UNKNOWN_WORDS, detail="5.1.1 User unknown")
    assert circuit(journey).reason == "smtp_550"
    assert states(journey) == {("scheduled", "smtp_550"): 8}
    assert journey.rows("select * from dripdrop.suppressions") == []


def test_refusals_between_which_others_are_taken_are_the_recipients(
    journey: Engine, clock: Clock
) -> None:
    for number in range(8):
        clock.advance(seconds=1)
        journey.join(f"good{number}")
        journey.deliver()
        clock.advance(seconds=1)
        journey.join(f"bad{number}")
        journey.deliver("refused", **UNKNOWN_WORDS, detail="5.1.1 User unknown")
    assert journey.list_circuits(TENANT) == []
    assert len(journey.rows("select * from dripdrop.suppressions")) == 8


def test_one_recipient_refused_again_and_again_is_not_everybody(
    engine: Engine,
) -> None:
    refusal = UNKNOWN_WORDS | {"detail": "nobody knows these words"}
    for number in range(8):
        engine.author(email("welcome"), key=f"sequence{number}")
        engine.enroll(TENANT, f"sequence{number}", "User", "sam", data={"email": "sam@example.com"})
        engine.deliver("refused", **refusal)
    assert engine.list_circuits(TENANT) == []
    assert states(engine) == {("failed", "smtp_550"): 8}


def test_recipients_that_are_refused_after_others_got_through_are_refused_for_good(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 8)
    journey.record(journey.claim(), "refused", **UNKNOWN_WORDS, detail="5.1.1 User unknown")
    clock.set(circuit(journey).until)
    journey.join("good")
    claims = journey.claim()
    for _ in range(9):
        if claims[0].recipient.startswith("good"):
            break
        journey.record(claims, "released")
        claims = journey.claim()
    journey.record(claims)
    journey.deliver("refused", **UNKNOWN_WORDS, detail="5.1.1 User unknown")
    assert circuit(journey).ended_at is not None
    assert states(journey) == {("failed", "smtp_550"): 8, ("sent", "sent"): 1}


def test_one_recipient_that_always_gets_a_rate_has_it_for_itself_once_others_got_through(
    journey: Engine, clock: Clock
) -> None:
    bad = journey.join("bad")
    slow = {"stage": "recipient", "code": "smtp_452", "detail": "4.5.3 Too many recipients"}
    journey.deliver("refused", **slow)
    assert circuit(journey).state == "resting"
    clock.advance(seconds=30)
    journey.join("good")
    journey.deliver()
    assert circuit(journey).ended_at is not None
    clock.advance(minutes=1)
    journey.deliver("refused", **slow)
    assert len(journey.list_circuits(TENANT)) == 1
    assert journey.last(bad.id).retry_count == 1
    for number in range(20):
        clock.advance(hours=6)
        journey.join(f"user{number}")
        for each in journey.claim():
            if each.recipient.startswith("bad"):
                journey.record([each], "refused", **slow)
            else:
                journey.record([each])
    assert len(journey.list_circuits(TENANT)) == 1
    assert journey.last(bad.id).state == "failed"


def test_a_rate_that_everybody_has_reached_rests_the_sender_whatever_was_taken_before(
    journey: Engine, clock: Clock
) -> None:
    crowd(journey, 6)
    claims = journey.claim()
    slow = {"stage": "recipient", "code": "smtp_452", "detail": "4.5.3 Too many recipients"}
    journey.record(claims[:3])
    journey.record(claims[3:], "refused", **slow)
    assert circuit(journey).state == "resting"
    assert states(journey) == {("sent", "sent"): 3, ("scheduled", "smtp_452"): 3}


def test_who_comes_next_tries_a_server_rather_than_who_found_it_away(
    journey: Engine, clock: Clock
) -> None:
    bad = journey.join("bad")
    refusal = {"stage": "recipient", "code": "smtp_550", "detail": "5.7.1 relaying denied"}
    journey.deliver("refused", **refusal)
    clock.advance(seconds=10)
    journey.join("good")
    journey.tick()
    clock.advance(seconds=20)
    (probe,) = journey.claim()
    assert probe.recipient == "good@example.com"
    journey.record([probe])
    assert journey.last(bad.id).state == "scheduled"


def test_one_message_alone_that_fails_again_and_again_keeps_nobody_waiting_for_long(
    journey: Engine, clock: Clock
) -> None:
    journey.join("bad")
    journey.deliver("auth_error")
    for _ in range(8):
        rest = circuit(journey).until - clock.now
        assert rest <= timedelta(minutes=1)
        clock.set(circuit(journey).until)
        journey.deliver("auth_error")
    assert circuit(journey).probes == 8
