"""People who go from one version to another, step by step of the same key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import (
    DripdropError,
    InvalidArgument,
    InvalidTransition,
    SequenceNotFound,
    StepNotFound,
    VersionNotFound,
)
from tests.conftest import Clock
from tests.engine import TENANT, Engine, after, email

MENDED = {"subject": "Hello again", "text": "Hello again"}
DAILY = {"type": "cron", "cron_expression": "0 9 * * *", "recurring": True}


def preview(engine: Engine, *versions: int, **step_map: str) -> list[tuple[Any, ...]]:
    first, second = versions or (1, 2)
    return list(engine.migrate_preview(TENANT, "onboarding", first, second, step_map))


def migrate(engine: Engine, *versions: int, **step_map: str) -> int:
    first, second = versions or (1, 2)
    moved: int = engine.migrate_enrollments(TENANT, "onboarding", first, second, step_map)
    return moved


def test_a_person_goes_to_the_step_of_the_same_key(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    second = engine.author(email("welcome", template=MENDED), email("offer"))
    assert preview(engine) == [("welcome", "welcome", 1, 0, 0)]
    assert migrate(engine) == 1
    assert engine.enrollment(sam.id).sequence_version_id == second.id
    for _ in range(2):
        engine.deliver()
    assert [x.step for x in engine.executions(sam.id)] == ["welcome", "offer"]
    assert engine.enrollment(sam.id).state == "completed"
    assert engine.ledger() == []


def test_a_step_may_be_mapped_to_another_key(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.author(email("hello"), email("tip"))
    assert preview(engine) == [("welcome", None, 0, 1, 0)]
    assert preview(engine, welcome="hello") == [("welcome", "hello", 1, 0, 0)]
    assert migrate(engine, welcome="hello") == 1
    assert engine.last(sam.id).step == "hello"


def test_whose_step_is_gone_stays(engine: Engine) -> None:
    first = engine.author()
    sam = engine.join()
    engine.author(email("hello"))
    before = engine.contents()
    assert migrate(engine) == 0
    assert engine.contents() == before
    assert engine.enrollment(sam.id).sequence_version_id == first.id


@pytest.mark.parametrize("state", ["sending", "unknown"])
def test_whose_message_is_under_way_stays_for_now(engine: Engine, state: str) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to(state, sam.id)
    engine.author(email("welcome"), email("tip"))
    assert preview(engine) == [("welcome", "welcome", 0, 0, 1)]
    assert migrate(engine) == 0


def test_who_is_between_two_steps_stays_for_now(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.bring_to("sending", sam.id)
    engine.pause_enrollment(TENANT, sam.id)
    (claim,) = engine.rows("select id as execution_id, fence from dripdrop.step_executions")
    engine.record([claim])
    engine.author(email("welcome"), email("hint"))
    assert preview(engine) == [("welcome", "welcome", 0, 0, 1)]
    assert migrate(engine) == 0


@pytest.mark.parametrize("state", ["queued", "rendered"])
def test_what_was_on_its_way_out_is_rendered_again(engine: Engine, state: str) -> None:
    engine.author(email("welcome"))
    sam = engine.join()
    former = engine.bring_to(state, sam.id)
    engine.author(email("welcome", template=MENDED))
    assert migrate(engine) == 1
    execution = engine.last(sam.id)
    assert (execution.state, execution.payload, execution.fence) == (
        "scheduled",
        None,
        former.fence + 1,
    )
    assert engine.claim_renders() == engine.claim_sends("email") == []
    engine.tick()
    assert [claim.template for claim in engine.claim_renders()] == [MENDED]


def test_a_wait_goes_on_as_before(engine: Engine, clock: Clock) -> None:
    engine.author()
    sam = engine.join()
    engine.deliver()
    waiting = engine.last(sam.id)
    engine.author(email("welcome"), email("tip", timing=after(9, "days")))
    clock.advance(days=1)
    migrate(engine)
    execution = engine.last(sam.id)
    assert (execution.due_at, execution.scheduled_for) == (waiting.due_at, waiting.scheduled_for)
    assert execution.reason == waiting.reason


def test_a_wait_for_an_event_goes_on(engine: Engine) -> None:
    waiting = email("receipt", timing={"type": "event", "trigger_event": "paid"})
    engine.author(waiting)
    sam = engine.join()
    engine.author(waiting, email("thanks"))
    assert migrate(engine) == 1
    engine.track_event(TENANT, "paid", enrollment_id=sam.id)
    engine.deliver()
    assert [x.step for x in engine.executions(sam.id)] == ["receipt", "thanks"]


def test_a_paused_person_goes_too_and_stays_paused(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    engine.author(email("welcome"))
    assert migrate(engine) == 1
    assert engine.tick().queued == 0
    engine.resume_enrollment(TENANT, sam.id)
    engine.deliver()
    assert engine.enrollment(sam.id).exit_reason == "completed"


def test_who_has_ended_stays(engine: Engine) -> None:
    first = engine.author()
    sam = engine.join()
    engine.unenroll(TENANT, sam.id)
    engine.author(email("welcome"))
    assert (preview(engine), migrate(engine)) == ([], 0)
    assert engine.enrollment(sam.id).sequence_version_id == first.id


def test_the_other_version_may_use_another_channel(engine: Engine) -> None:
    engine.author(email("welcome"))
    sam = engine.join(data={"email": "sam@example.com", "webhook": "x"})
    engine.author(
        {"key": "welcome", "channel": "webhook", "template": {"url": "https://example.com"}}
    )
    migrate(engine)
    assert engine.last(sam.id).channel == "webhook"


def test_a_side_step_that_is_gone_is_over_and_a_new_one_begins(engine: Engine) -> None:
    tip = email("tip", timing=after(3, "days"))
    engine.author(tip, email("news", timing=DAILY), email("kept", timing=DAILY))
    sam = engine.join()
    engine.author(tip, email("kept", timing=DAILY), email("digest", timing=DAILY))
    assert preview(engine) == [("tip", "tip", 1, 0, 0)]
    assert migrate(engine) == 1
    planned = {x.step: (x.state, x.occurrence) for x in engine.executions(sam.id)}
    assert planned == {
        "tip": ("scheduled", 0),
        "news": ("cancelled", 0),
        "kept": ("scheduled", 0),
        "digest": ("scheduled", 0),
    }
    assert engine.ledger() == []


def test_a_new_side_step_of_a_paused_person_waits_until_they_go_on(
    engine: Engine, clock: Clock
) -> None:
    tip = email("tip", timing=after(30, "days"))
    engine.author(tip)
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    engine.author(tip, email("digest", timing=DAILY))
    migrate(engine)
    clock.advance(days=2)
    assert engine.tick().queued == 0
    engine.resume_enrollment(TENANT, sam.id)
    clock.advance(days=1)
    assert engine.tick().queued == 1


def test_a_step_on_the_way_does_not_become_a_side_step(engine: Engine) -> None:
    engine.author(email("welcome"))
    engine.join()
    engine.author(email("hello"), email("welcome", timing=DAILY))
    assert preview(engine) == [("welcome", None, 0, 1, 0)]


def test_people_may_go_back(engine: Engine) -> None:
    first = engine.author()
    sam = engine.join()
    engine.author(email("welcome"), email("hint"))
    assert (migrate(engine), migrate(engine, 2, 1)) == (1, 1)
    assert engine.enrollment(sam.id).sequence_version_id == first.id
    engine.deliver()
    assert engine.last(sam.id).step == "tip"


def test_a_person_comes_back_to_a_step_as_its_next_occurrence(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.deliver()
    engine.author(email("hint"), email("tip"))
    assert migrate(engine) == 1
    assert migrate(engine, 2, 1, tip="welcome") == 1
    execution = engine.last(sam.id)
    assert (execution.step, execution.occurrence) == ("welcome", 1)


def test_the_preview_counts_people_by_their_step(engine: Engine) -> None:
    engine.author()
    for person in ("ann", "bob"):
        engine.join(person)
    engine.deliver()
    engine.join("cid")
    engine.join("dan")
    engine.tick()
    engine.render()
    engine.claim_sends("email", batch_size=1)
    engine.author(email("welcome"), email("hint"))
    assert preview(engine) == [("welcome", "welcome", 1, 0, 1), ("tip", None, 0, 2, 0)]
    assert migrate(engine) == 1


def test_the_preview_writes_nothing(engine: Engine) -> None:
    engine.author()
    engine.join()
    engine.author(email("welcome"))
    before = engine.contents()
    preview(engine)
    assert engine.contents() == before


@pytest.mark.slow
def test_a_migration_waits_for_whoever_holds_a_message(engine: Engine, other: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.tick()
    engine.render()
    engine.author(email("welcome"))
    with ThreadPoolExecutor(1) as pool:
        with engine.connection.transaction():
            engine.claim_sends("email")
            moved = pool.submit(migrate, other)
            engine.wait_until_blocked(other.connection)
        assert moved.result() == 0
    assert engine.last(sam.id).state == "sending"


FAULTS: list[tuple[dict[str, Any], type[DripdropError], str | None]] = [
    ({"tenant_key": "other"}, SequenceNotFound, None),
    ({"sequence": "nothing"}, SequenceNotFound, None),
    ({"from_version": 9}, VersionNotFound, "from_version"),
    ({"to_version": 9}, VersionNotFound, "to_version"),
    ({"to_version": 1}, InvalidArgument, "to_version"),
    ({"to_version": 3}, InvalidTransition, "to_version"),
    ({"step_map": []}, InvalidArgument, "step_map"),
    ({"step_map": {"welcome": ["welcome"]}}, InvalidArgument, "step_map"),
    ({"step_map": {"welcome": None}}, InvalidArgument, "step_map"),
    ({"step_map": {"welcom": "welcome"}}, StepNotFound, "step_map.welcom"),
    ({"step_map": {"welcome": "nowhere"}}, StepNotFound, "step_map.welcome"),
]


@pytest.mark.parametrize(("fault", "error", "field"), FAULTS, ids=[str(f) for f, *_ in FAULTS])
def test_a_bad_argument_is_named(
    engine: Engine, fault: dict[str, Any], error: type[DripdropError], field: str | None
) -> None:
    engine.author()
    engine.join()
    engine.author(email("welcome"))
    engine.author(email("draft"), activate=False)
    arguments: dict[str, Any] = {
        "tenant_key": TENANT,
        "sequence": "onboarding",
        "from_version": 1,
        "to_version": 2,
    } | fault
    for function in (engine.migrate_preview, engine.migrate_enrollments):
        with engine.refused(error) as refusal:
            function(**arguments)
        assert refusal.value.diag.column_name == field


def test_someone_who_was_paused_resumes_with_the_side_steps_of_the_new_version(
    engine: Engine,
) -> None:
    digest = {"type": "cron", "cron_expression": "0 9 * * *", "recurring": True}
    engine.author(email("tip", timing=after(3, "days")), email("digest", timing=digest))
    sam = engine.join()
    engine.pause_enrollment(TENANT, sam.id)
    engine.author(email("tip", timing=after(3, "days")))
    engine.migrate_enrollments(TENANT, "onboarding", 1, 2)
    engine.resume_enrollment(TENANT, sam.id)
    assert [x.step for x in engine.executions(sam.id) if x.ended_at is None] == ["tip"]
