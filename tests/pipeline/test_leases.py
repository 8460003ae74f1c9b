"""claim_due(), leased_renders() and claim_rendered(): whoever renders and sends needs no queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest

from dripdrop.errors import InvalidArgument
from tests.conftest import Clock
from tests.engine import TEMPLATE, TENANT, Engine
from tests.pipeline.conftest import pointers

PAYLOAD = {"subject": "Hello", "text": "Hello"}

Stop: TypeAlias = Callable[[Engine, UUID], object]


def lease(engine: Engine, *subscribers: str) -> list[Any]:
    """Enrol subscribers, and lease their first messages."""
    for subscriber in subscribers:
        engine.join(subscriber)
    leased = engine.claim_due().leased
    return list(engine.leased_renders(leased))


def results(claims: list[Any], payload: Any = PAYLOAD) -> list[dict[str, Any]]:
    """Return what their renderer hands in."""
    return [
        {"execution": str(claim.execution_id), "fence": claim.fence, "payload": payload}
        for claim in claims
    ]


def states(engine: Engine) -> list[str]:
    """Return the states of all messages that are not to come."""
    return [
        row.state
        for row in engine.rows(
            "select state from dripdrop.step_executions where state <> 'scheduled' order by id"
        )
    ]


def test_what_is_leased_brings_its_template_and_has_no_pointer(journey: Engine) -> None:
    (claimed,) = lease(journey, "sam")
    assert (claimed.channel, claimed.template, claimed.message_id) == ("email", TEMPLATE, None)
    assert claimed.variables["email"] == "sam@example.com"
    assert pointers(journey, "render") == []
    assert journey.claim_renders() == []
    assert journey.ledger() == []


def test_a_lease_that_runs_out_is_taken_back(journey: Engine, clock: Clock) -> None:
    (claimed,) = lease(journey, "sam")
    clock.set(clock.now + timedelta(seconds=59))
    assert journey.reconcile().repointed == 0
    clock.set(clock.now + timedelta(seconds=2))
    assert journey.ledger() == ["message under way that no queue points to"]
    assert journey.reconcile().repointed == 1
    assert journey.leased_renders([claimed.execution_id]) == []
    (again,) = journey.claim_renders()
    assert (again.execution_id, again.fence) == (claimed.execution_id, claimed.fence)
    assert journey.ledger() == []


def test_a_renderer_that_comes_late_changes_nothing(journey: Engine, clock: Clock) -> None:
    late = lease(journey, "sam")
    clock.set(clock.now + timedelta(minutes=2))
    journey.reconcile()
    assert journey.render() == 1
    assert journey.claim_rendered(results(late, {"subject": "Late", "text": "Late"}), "email") == []
    (claimed,) = journey.claim_sends("email")
    assert claimed.payload == PAYLOAD


def test_a_lease_has_to_be_a_time(journey: Engine) -> None:
    with pytest.raises(InvalidArgument):
        journey.claim_due(10, timedelta(seconds=-1))


def test_what_is_rendered_and_has_a_place_leaves_at_once(journey: Engine) -> None:
    rendered = results(lease(journey, "ada", "sam"))
    token = uuid4()
    claims = journey.claim_rendered(rendered, "email", claim=token)
    assert [claim.recipient for claim in claims] == ["ada@example.com", "sam@example.com"]
    assert [claim.payload for claim in claims] == [PAYLOAD, PAYLOAD]
    assert states(journey) == ["sending", "sending"]
    assert (pointers(journey, "render"), pointers(journey, "send_email")) == ([], [])
    assert journey.ledger() == []
    journey.record(claims)
    assert states(journey) == ["sent", "sent"]


def test_what_comes_from_the_queue_can_take_the_short_way_too(journey: Engine) -> None:
    journey.join()
    journey.tick()
    (queued,) = journey.claim_renders()
    (claimed,) = journey.claim_rendered(
        [results([queued])[0] | {"message": queued.message_id}], "email"
    )
    assert claimed.recipient == "sam@example.com"
    assert pointers(journey, "render") == []


def test_a_lost_claim_is_given_back(journey: Engine) -> None:
    token = uuid4()
    journey.claim_rendered(results(lease(journey, "sam")), "email", claim=token)
    assert journey.release_claim(token) == 1
    (claimed,) = journey.claim()
    assert claimed.payload == PAYLOAD


def test_what_has_no_place_waits_in_the_queue(journey: Engine) -> None:
    rendered = results(lease(journey, "ada", "bob", "sam"))
    claims = journey.claim_rendered(rendered, "email", places={"*": 1})
    assert len(claims) == 1
    assert states(journey) == ["sending", "rendered", "rendered"]
    assert len(pointers(journey, "send_email")) == 2
    assert journey.ledger() == []


def test_a_concurrency_counts_for_the_short_way(journey: Engine) -> None:
    mail = journey.get_default_adapter(TENANT, "email")
    journey.set_adapter_limits(TENANT, mail.id, concurrency=2)
    rendered = results(lease(journey, "ada", "bob", "sam"))
    assert len(journey.claim_rendered(rendered, "email")) == 2


def test_a_rate_counts_for_the_short_way(journey: Engine) -> None:
    mail = journey.get_default_adapter(TENANT, "email")
    rendered = results(lease(journey, "ada", "bob", "sam"))
    journey.set_adapter_limits(TENANT, mail.id, rate_limits={"adapter": "2/h"})
    assert len(journey.claim_rendered(rendered, "email")) == 2
    assert journey.ledger() == []


def test_nobody_overtakes_what_waits(journey: Engine) -> None:
    journey.join("ada")
    journey.tick()
    journey.render()
    assert journey.claim_rendered(results(lease(journey, "sam")), "email") == []
    assert [claim.recipient for claim in journey.claim_sends("email", 1)] == ["ada@example.com"]


def test_only_one_channels_messages_are_handed_out(journey: Engine) -> None:
    assert journey.claim_rendered(results(lease(journey, "sam")), "webhook") == []
    assert states(journey) == ["rendered"]
    assert len(pointers(journey, "send_email")) == 1


def test_a_url_of_its_own_takes_the_way_on_which_tenants_share(engine: Engine) -> None:
    engine.author(
        {"key": "call", "channel": "webhook", "template": {"url": "{{ url }}", "body": "{}"}}
    )
    rendered = results(lease(engine, "sam"), {"url": "https://hooks.example/sam", "body": {}})
    assert engine.claim_rendered(rendered, "webhook") == []
    assert states(engine) == ["rendered"]


@pytest.mark.parametrize(
    ("stop", "state"),
    [
        (lambda engine, sam: engine.pause_enrollment(TENANT, sam), "scheduled"),
        (lambda engine, sam: engine.unenroll(TENANT, sam), "cancelled"),
        (lambda engine, sam: engine.suppress(TENANT, "email", "sam@example.com"), "skipped"),
        (lambda engine, sam: engine.pause_sending(TENANT), "scheduled"),
    ],
    ids=["pause", "unenroll", "suppress", "pause of sending"],
)
def test_a_stop_between_lease_and_fence_is_honoured(
    journey: Engine, stop: Stop, state: str
) -> None:
    rendered = results(lease(journey, "sam"))
    (sam,) = journey.rows("select id from dripdrop.enrollments")
    stop(journey, sam.id)
    assert journey.claim_rendered(rendered, "email") == []
    assert journey.executions(sam.id)[0].state == state
    assert journey.ledger() == []


def test_the_fence_judges_by_the_address_that_was_decided_for(journey: Engine) -> None:
    rendered = results(lease(journey, "sam"))
    (sam,) = journey.rows("select id from dripdrop.enrollments")
    journey.rows(
        'update dripdrop.enrollments set data = \'{"email": "new@example.com"}\' returning id'
    )
    journey.suppress(TENANT, "email", "sam@example.com")
    assert journey.claim_rendered(rendered, "email") == []
    assert journey.executions(sam.id)[0].reason == "suppressed"


def test_what_cannot_be_rendered_fails_and_the_others_leave(journey: Engine) -> None:
    ada, sam = lease(journey, "ada", "sam")
    failed = {"execution": str(ada.execution_id), "fence": ada.fence, "code": "liquid_error"}
    (claimed,) = journey.claim_rendered([failed, *results([sam])], "email")
    assert claimed.recipient == "sam@example.com"
    assert states(journey)[:2] == ["failed", "sending"]


def test_what_somebody_has_locked_is_rendered_again_a_second_later(
    journey: Engine, other: Engine
) -> None:
    rendered = results(lease(journey, "sam"))
    with other.connection.transaction():
        other.rows("select id from dripdrop.step_executions for update")
        assert journey.claim_rendered(rendered, "email") == []
    assert len(pointers(journey, "render")) == 1
    assert states(journey) == ["queued"]
    assert journey.ledger() == []
