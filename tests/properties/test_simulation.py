"""What `simulate()` and `forecast()` say is what then happens."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st

from dripdrop.errors import InvalidTransition, InvalidVersion, MissingRecipient
from tests.conftest import START, Clock
from tests.engine import TENANT, Engine, after, email, onboarding
from tests.properties import documents as drawn

pytestmark = pytest.mark.slow

IN_ONE_DATABASE = settings(
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
"""Each example is rolled back; explaining a failure would take longer than understanding it."""

DAY_HOOK = """
create function public.day_of_month(enrollment dripdrop.enrollments, context jsonb) returns jsonb
language sql as $$
  select to_jsonb(extract(day from (context ->> 'now_iso8601')::timestamptz at time zone 'UTC'))
$$
"""
NEVER = datetime.max.replace(tzinfo=UTC)
FATES = {"sent": "sent", "skipped": "skip", "failed": "fail"}
LOGGED = {"sent": "send", "skipped": "skip", "suppressed": "skip", "failed": "fail"}
EVERYTHING: dict[str, Any] = {
    "data": {"email": "sam@example.com", "plan": "pro"},
    "events": [
        {"at": "1 day", "event_key": "clicked"},
        {"at": "3 days", "event_key": "bought", "event_data": {"plan": "pro"}},
    ],
    "hooks": {"rating": 5},
}
"""A subscriber to whom all that a sequence can do happens."""


class Deed(NamedTuple):
    """What became of one execution, or of the enrolment: the row of a timeline."""

    at: datetime
    step_key: str | None
    channel: str | None
    action: str
    reason: str | None
    recipient: str | None


class Life:
    """One enrolment, moved by what moves it outside of tests, from one due time to the next."""

    def __init__(self, engine: Engine, clock: Clock, enrollment_id: UUID) -> None:
        """Begin where the enrolment is."""
        self.engine = engine
        self.clock = clock
        self.id = enrollment_id

    def until(
        self, end: datetime, events: list[dict[str, Any]], hooks: dict[str, Any]
    ) -> list[Deed]:
        """Let time pass; return what was done, as it was done."""
        deeds: list[Deed] = []
        events = list(events)
        while True:
            it = self.engine.enrollment(self.id)
            if it.state not in ("active", "paused"):
                return [*deeds, Deed(self.clock.now, None, None, it.state, it.exit_reason, None)]
            happens_at = datetime.fromisoformat(events[0]["at"]) if events else None
            times = [at for at in (happens_at, *(x.due_at for x in self.executions())) if at]
            now = max(self.clock.now, min(times, default=NEVER))
            if now > end:
                return deeds
            self.clock.set(now)
            if happens_at and happens_at <= now:
                happening = events.pop(0)
                self.happen(happening)
                deeds.append(Deed(now, None, None, "event", happening["event_key"], None))
            else:
                due = [x for x in self.answered() if x.due_at and x.due_at <= now]
                self.engine.tick()
                self.move_on(hooks)
                deeds += self.deeds(now, due)

    def happen(self, event: dict[str, Any]) -> None:
        """Track an event."""
        self.engine.track_event(
            TENANT,
            event["event_key"],
            event["event_data"],
            enrollment_id=self.id,
            occurred_at=event["at"],
        )

    def executions(self) -> list[Any]:
        """Return what there is, in the order of planning."""
        return self.engine.executions(self.id)

    def answered(self) -> list[Any]:
        """Return those whose hooks, if they have any, have answered: the others are asked first."""
        asking = self.engine.rows(
            "select x.id from dripdrop.step_executions as x"
            " join dripdrop.steps as s on s.id = x.step_id"
            " where x.enrollment_id = %s and not coalesce(x.hooks, '{}') ?& s.hooks",
            self.id,
        )
        return [x for x in self.executions() if (x.id,) not in asking]

    def move_on(self, hooks: dict[str, Any]) -> None:
        """Do what a daemon does about what a tick has decided."""
        answers: dict[UUID, dict[str, Any]] = {}
        for claim in self.engine.claim_hooks():
            assert claim.execution_id is not None, "no rule names a function here"
            if claim.key in hooks:
                answer = {"value": hooks[claim.key]}
            elif claim.kind == "sql":
                answer = self.engine.call_hook(claim.execution_id, claim.key)
            else:
                answer = {"error": "hook_missing"}
            answers.setdefault(
                claim.execution_id,
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "values": {},
                },
            )["values"][claim.key] = answer
        if answers:
            self.engine.complete_hooks(list(answers.values()))
        self.engine.render()
        self.engine.record(self.engine.claim_sends("email"))

    def deeds(self, now: datetime, due: list[Any]) -> list[Deed]:
        """Return what became of the executions that were due."""
        state = self.engine.enrollment(self.id).state
        rows = {x.id: x for x in self.executions()}
        deeds = []
        for old in due:
            new = rows[old.id]
            if new.state == "sent":
                action = "send"
            elif new.state in FATES:
                action = FATES[new.state]
            elif new.state == "cancelled" and new.fence == old.fence:
                action = "complete" if state == "completed" else "exit"
            elif new.state == "cancelled":
                action = "cancel"
            elif new.defer_count > old.defer_count:
                action = "defer"
            else:
                action = "hold"
            reason = None if action == "send" else new.reason
            deeds.append(Deed(now, new.step, new.channel, action, reason, new.recipient))
        return deeds


def authored(engine: Engine, document: dict[str, Any]) -> dict[str, Any]:
    """Apply a document, without its transitions if they lead astray; return what was applied."""
    with suppress(InvalidVersion), engine.connection.transaction():
        engine.apply(TENANT, document)
        event("with transitions")
        return document
    straight = document | {
        "entry": [],
        "steps": [step | {"transitions": []} for step in document["steps"]],
    }
    try:
        with engine.connection.transaction():
            engine.apply(TENANT, straight)
    except InvalidVersion:
        assume(False)
    return straight


@pytest.fixture
def ready(engine: Engine) -> Engine:
    """An engine with a sender, a hook, and a holiday."""
    engine.create_channel_adapter(TENANT, "email", "email", "smtp", is_default=True)
    engine.connection.execute(DAY_HOOK)
    engine.create_hook(TENANT, "day", "public.day_of_month(dripdrop.enrollments, jsonb)")
    engine.set_holidays(TENANT, "de", [(START + timedelta(days=2)).date()])
    return engine


@pytest.fixture
def everything(ready: Engine) -> None:
    """A sequence in which much can happen."""
    ready.apply(
        TENANT,
        onboarding(
            email("welcome", template=drawn.RATED),
            email(
                "purchase",
                timing={"type": "event", "trigger_event": "bought", "timeout": "5 days"},
                conditions=[{"hook": "rating", "operator": ">", "expected_value": 3}],
                transitions=[{"to": "tip", "conditions": [{"hook": "day", "expected_value": 5}]}],
            ),
            email("tip", timing=after(1, "days")),
            email(
                "thanks",
                timing={"type": "event", "trigger_event": "clicked", "recurring": True},
            ),
            hooks=[{"key": "rating", "url": "https://example.com/rating"}],
            goals=[{"event": "upgraded"}],
        ),
    )


def timeline(rows: list[Any]) -> list[tuple[str | None, str]]:
    """Return the steps and actions of a timeline."""
    return [(row.step_key, row.action) for row in rows]


def test_a_simulation_goes_all_the_way(ready: Engine, everything: None) -> None:
    assert timeline(ready.simulate(TENANT, "onboarding", **EVERYTHING)) == [
        ("welcome", "send"),
        (None, "event"),
        ("thanks", "send"),
        (None, "event"),
        ("purchase", "send"),
        ("tip", "send"),
        (None, "completed"),
    ]


def test_a_simulation_leaves_nothing_behind(ready: Engine, clock: Clock, everything: None) -> None:
    ready.join()
    ready.tick()
    before = ready.contents()
    now = ready.rows("select dripdrop._now() as at")
    ready.simulate(TENANT, "onboarding", start_at=START + timedelta(days=1), **EVERYTHING)
    ready.forecast(TENANT, "onboarding")
    assert ready.contents() == before
    assert ready.rows("select dripdrop._now() as at") == now


def test_a_simulation_tells_nobody(ready: Engine, other: Engine, everything: None) -> None:
    ready.connection.execute("""
        create function public.tell() returns trigger language plpgsql
        as $$ begin perform pg_notify('told', dripdrop._now()::date::text); return null; end $$;
        create trigger tell after insert on dripdrop.step_executions
        execute function public.tell();
    """)
    other.connection.execute("listen told")
    ready.simulate(TENANT, "onboarding", start_at=START + timedelta(days=1), **EVERYTHING)
    ready.join()
    (told,) = other.connection.notifies(timeout=20, stop_after=1)
    assert told.payload == "2026-03-02"


def test_a_simulation_needs_no_queues(ready: Engine, everything: None) -> None:
    expected = ready.simulate(TENANT, "onboarding", **EVERYTHING)
    ready.stop()
    assert ready.simulate(TENANT, "onboarding", **EVERYTHING) == expected


def test_a_draft_is_simulated_and_stays_a_draft(ready: Engine, everything: None) -> None:
    draft = ready.apply(TENANT, onboarding(email("hello"), activate=False))
    rows = ready.simulate(TENANT, "onboarding", {"email": "a@b.example"}, version=draft.version)
    assert timeline(rows) == [("hello", "send"), (None, "completed")]
    assert ready.rows("select state from dripdrop.sequence_versions order by version") == [
        ("active",),
        ("draft",),
    ]


def test_a_draft_with_problems_is_refused(ready: Engine, everything: None) -> None:
    draft = ready.apply(
        TENANT, onboarding(email("hello", transitions=[{"to": "hello"}]), activate=False)
    )
    with ready.refused(InvalidVersion):
        ready.simulate(TENANT, "onboarding", {"email": "a@b.example"}, version=draft.version)


@pytest.mark.parametrize(("rating", "action"), [(5, "send"), (2, "skip"), ("good", "skip")])
def test_the_callers_values_stand_for_hooks(
    ready: Engine, everything: None, rating: Any, action: str
) -> None:
    assumed = EVERYTHING | {"hooks": {"rating": rating}}
    rows = ready.simulate(TENANT, "onboarding", **assumed)
    assert ("purchase", action) in timeline(rows)


def test_a_hook_without_a_value_has_an_error(ready: Engine, everything: None) -> None:
    rows = ready.simulate(TENANT, "onboarding", EVERYTHING["data"])
    assert [(row.action, row.reason) for row in rows] == [
        ("fail", "hook_failed"),
        ("cancelled", "step_failed"),
    ]


@pytest.mark.parametrize("days", [1, 4, 5, 30])
def test_a_simulation_ends_at_its_horizon(ready: Engine, everything: None, days: int) -> None:
    horizon = timedelta(days=days)
    whole = ready.simulate(TENANT, "onboarding", **EVERYTHING)
    rows = ready.simulate(TENANT, "onboarding", horizon=horizon, **EVERYTHING)
    assert rows == [row for row in whole if row.at <= START + horizon]


@settings(IN_ONE_DATABASE, max_examples=40)
@given(data=st.data())
def test_the_simulated_timeline_is_what_then_happens(
    ready: Engine, clock: Clock, data: st.DataObject
) -> None:
    document = data.draw(drawn.documents())
    person = data.draw(drawn.people)
    start = data.draw(drawn.starts)
    horizon = timedelta(days=data.draw(st.integers(1, 30)))
    events = data.draw(drawn.events(start, start + horizon))
    hooks: dict[str, Any] = data.draw(
        st.sampled_from([{}, {"rating": 5}, {"rating": 1}, {"rating": "good"}])
    )
    obstacle = data.draw(st.sampled_from([None, None, None, "suppressed", "resting"]))
    as_draft = data.draw(st.booleans())

    with ready.connection.transaction(force_rollback=True):
        clock.set(START)
        document = authored(ready, document)
        version = None
        if as_draft:
            document["steps"][0]["name"] = "Another version"
            draft = ready.apply(TENANT, document | {"activate": False})
            version = draft.version
        if obstacle == "suppressed":
            ready.suppress(TENANT, "email", "sam@work.example")
        elif obstacle == "resting":
            ready.connection.execute(
                "update dripdrop.channel_adapters set resting_until = %s, resting_reason = 'rest'",
                [start + timedelta(hours=30)],
            )

        refusal = None
        foretold: list[Any] = []
        try:
            with ready.connection.transaction():
                foretold = ready.simulate(
                    TENANT, "onboarding", person, horizon, events, hooks, version, start
                )
        except MissingRecipient as error:
            refusal = type(error)

        clock.set(start)
        if as_draft:
            ready.activate_sequence_version(TENANT, draft.id)
        try:
            with ready.connection.transaction():
                life = Life(ready, clock, ready.join(data=person).id)
        except MissingRecipient as error:
            assert refusal is type(error)
            return
        happened = life.until(start + horizon, events, hooks)

        assert [Deed(*row) for row in foretold] == happened
        logged = Counter(
            LOGGED[row.event_type]
            for row in ready.rows("select event_type from dripdrop.message_events")
            if row.event_type in LOGGED
        )
        assert logged == Counter(d.action for d in happened if d.action in LOGGED.values())
        assert ready.ledger() == []
        for deed in happened:
            event(deed.action)


@settings(IN_ONE_DATABASE, max_examples=10)
@given(data=st.data())
def test_a_forecast_is_the_sum_of_what_then_happens(
    ready: Engine, clock: Clock, data: st.DataObject
) -> None:
    """Everything falls on the hour here, by which the forecast's clock goes."""
    document = data.draw(drawn.documents(hooks=False))
    crowd = data.draw(st.lists(drawn.people, min_size=1, max_size=4))
    begun = timedelta(hours=data.draw(st.integers(0, 100)))
    horizon = timedelta(days=data.draw(st.integers(1, 20)))
    happening = data.draw(drawn.events(START, START + begun))
    stage = data.draw(st.sampled_from(["idle", "queued", "rendered", "paused"]))

    with ready.connection.transaction(force_rollback=True):
        clock.set(START)
        authored(ready, document)
        lives = []
        for number, person in enumerate(crowd):
            with suppress(MissingRecipient), ready.connection.transaction():
                sam = ready.join(f"person-{number}", data=person)
                lives.append(Life(ready, clock, sam.id))
        live(lives, clock, START + begun, happening)
        if stage in ("queued", "rendered"):
            ready.tick()
        if stage == "rendered":
            ready.render()
        if stage == "paused" and lives:
            with suppress(InvalidTransition), ready.connection.transaction():
                ready.pause_enrollment(TENANT, lives[0].id)
        foretold = ready.forecast(TENANT, "onboarding", horizon)
        before = len(sent(ready))
        live(lives, clock, START + begun + horizon, [])
        happened = Counter((at.date(), key) for at, key in sent(ready)[before:])

        assert {(row.day, row.step_key): row.messages for row in foretold} == happened
        event("foretold" if foretold else "nothing foretold")


def live(lives: list[Life], clock: Clock, end: datetime, events: list[dict[str, Any]]) -> None:
    """Let time pass for all of them together; what happens, happens to each."""
    events = list(events)
    for life in lives[:1]:
        life.move_on({})
    while lives:
        happens_at = datetime.fromisoformat(events[0]["at"]) if events else NEVER
        due_at = [x.due_at for life in lives for x in life.executions() if x.due_at]
        now = max(clock.now, min([happens_at, *due_at]))
        if now > end:
            break
        clock.set(now)
        if happens_at <= now:
            happening = events.pop(0)
            for life in lives:
                life.happen(happening)
        else:
            lives[0].engine.tick()
            lives[0].move_on({})
    clock.set(end)


def sent(engine: Engine) -> list[Any]:
    """Return when messages of which steps were sent."""
    return engine.rows(
        "select m.occurred_at at time zone 'UTC' as at, s.key from dripdrop.message_events as m"
        " join dripdrop.step_executions as x on x.id = m.step_execution_id"
        " join dripdrop.steps as s on s.id = x.step_id"
        " where m.event_type = 'sent' order by at, m.id"
    )
