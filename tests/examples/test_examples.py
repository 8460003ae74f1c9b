"""The examples: both forms of each are one sequence, and people go through it as it says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from dripdrop.documents import read
from dripdrop.templates import Renderer
from scripts.document import ROOT, program
from tests.conftest import START, Clock
from tests.engine import Engine

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
CHANNELS = ("email", "webhook")
NEW_YORK = ZoneInfo("America/New_York")

ADA = {
    "name": "Ada",
    "email": "ada@example.com",
    "phone": "+15555550100",
    "plan_tier": "enterprise",
    "company_name": "Initech",
    "upgrade_url": "https://app.example.com/upgrade",
}


class Step(NamedTuple):
    """What became of a step, and when."""

    key: str
    after: timedelta
    state: str
    reason: str | None


class Examples(Engine):
    """The examples in a database, and whoever goes through them."""

    clock: Clock
    dsn: str

    def prepare(self, clock: Clock, dsn: str) -> None:
        """Make the senders, and what the application has of its own."""
        self.clock, self.dsn = clock, dsn
        self.renderer = Renderer()
        self.payloads: dict[str, Any] = {}
        for channel, provider in zip(CHANNELS, ("smtp", "default"), strict=True):
            self.create_channel_adapter(None, channel, channel, provider, is_default=True)
        self.psql(EXAMPLES / "saas_onboarding_app.sql")

    def psql(self, *files: Path) -> str:
        """Run files in psql and return what it prints."""
        arguments = [argument for file in files for argument in ("-f", str(file))]
        command = [program(), "-XAt", "-v", "ON_ERROR_STOP=1", *arguments, self.dsn]
        return subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            env={"PGOPTIONS": f"-c dripdrop.now={START.isoformat()}", "PGCLIENTENCODING": "UTF8"},
        ).stdout

    def run(self, enrollment_id: Any, score: float = 0, until: str = "90 days") -> list[Step]:
        """Let time pass until nothing is to come, rendering for real; return what happened."""
        begun = self.clock.now
        while True:
            (next_one,) = self.rows(
                "select min(due_at) as due from dripdrop.step_executions"
                " where due_at < %s::timestamptz + %s::interval",
                begun,
                until,
            )
            if next_one.due is None:
                return self.happened(enrollment_id)
            self.clock.set(max(next_one.due, self.clock.now))
            self.tick()
            self.answer(score)
            self.tick()
            self.render()
            for channel in CHANNELS:
                self.record(self.claim_sends(channel))

    def answer(self, score: float) -> None:
        """Answer the hooks as the daemon does: HTTP with the score, functions by calling them."""
        for claim in self.claim_hooks():
            value = (
                {"response": json.dumps({"score": score})}
                if claim.kind == "http"
                else self.call_hook(claim.execution_id, claim.key)
            )
            self.complete_hooks(
                [
                    {
                        "execution": str(claim.execution_id),
                        "fence": claim.fence,
                        "message": claim.message_id,
                        "values": {claim.key: value},
                    }
                ]
            )

    def render(self) -> int:
        """Render what is queued, as the daemon does."""
        results = []
        for claim in self.claim_renders():
            if claim.template is not None:
                self.renderer.learn(claim.template_hash, claim.template)
            payload = self.renderer.render(
                claim.template_hash, claim.variables, claim.mailboxes or ()
            )
            self.payloads[claim.variables["step_key"]] = payload
            results.append(
                {
                    "execution": str(claim.execution_id),
                    "fence": claim.fence,
                    "message": claim.message_id,
                    "payload": payload,
                }
            )
        return int(self.complete_renders(results))

    def happened(self, enrollment_id: Any) -> list[Step]:
        """Return what became of an enrolment's steps, counted from its start."""
        started_at = self.enrollment(enrollment_id).started_at
        return [
            Step(x.step, x.ended_at - started_at, x.state, None if x.reason == "sent" else x.reason)
            for x in self.executions(enrollment_id)
            if x.ended_at
        ]

    def simulated(self, sequence: str, data: Mapping[str, Any], **more: Any) -> list[Step]:
        """Return what a simulation says would become of the steps."""
        became = {"send": "sent", "skip": "skipped"}
        return [
            Step(row.step_key, row.at - self.clock.now, became[row.action], row.reason)
            for row in self.simulate(None, sequence, data, "90 days", **more)
            if row.action in became
        ]

    def sign_up(self, plan_tier: str = "enterprise", tasks_done: int = 1) -> Any:
        """Insert a user of the application, with two tasks to do, and enrol them."""
        (user,) = self.rows(
            "insert into app.users (name, email, phone, plan_tier)"
            " values ('Ada', 'ada@example.com', '+15555550100', %s) returning id::text",
            plan_tier,
        )
        for number in range(2):
            self.connection.execute(
                "insert into app.setup_tasks values (%s, %s, %s)",
                [user.id, f"task {number}", number < tasks_done],
            )
        data = ADA | {"plan_tier": plan_tier}
        return self.enroll(None, "saas_onboarding", "User", user.id, data)


@pytest.fixture
def engine(db: Any, clock: Clock, dsn: str) -> Examples:
    examples = Examples(db)
    examples.prepare(clock, dsn)
    return examples


def document(name: str) -> dict[str, Any]:
    """Return the document in an example's YAML file."""
    file = EXAMPLES / f"{name}.yaml"
    (found,) = read(file.read_text(), file.name)
    assert found.template_faults() == []
    return dict(found.value)


def test_every_example_has_both_forms() -> None:
    assert len(NAMES) == 3
    assert all((EXAMPLES / f"{name}.sql").is_file() for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_of_an_example_are_one_sequence(engine: Examples, name: str) -> None:
    assert "1|active" in engine.psql(EXAMPLES / f"{name}.sql")
    assert engine.plan(None, document(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_files_form_is_applied_once(engine: Examples, name: str) -> None:
    version = engine.apply(None, document(name))
    assert (version.version, version.state) == (1, "active")
    assert engine.plan(None, document(name)) == []


def test_the_document_in_sql_may_be_run_again(engine: Examples) -> None:
    twice = EXAMPLES / "trial_ending.sql"
    assert engine.psql(twice, twice).split() == ["1|active", "1|active"]


# SaaS onboarding. It starts on a Monday at nine in the morning, UTC.

DIGEST = datetime(2026, 3, 9, 9, 0, tzinfo=NEW_YORK) - START
SMS = DIGEST + timedelta(days=7)


@pytest.mark.slow
def test_a_new_user_is_onboarded_to_the_end(engine: Examples) -> None:
    engine.apply(None, document("saas_onboarding"))
    ada = engine.sign_up()
    expected = [
        Step("welcome", timedelta(0), "sent", None),
        Step("welcome_notification", timedelta(minutes=5), "sent", None),
        Step("setup_reminder", timedelta(days=1, minutes=5), "sent", None),
        Step("weekly_digest", DIGEST, "sent", None),
        Step("activation_sms", SMS, "sent", None),
    ]
    assumed = {"setup_completed": False, "progress": 50}
    assert engine.simulated("saas_onboarding", ADA, hooks=assumed) == expected
    assert engine.run(ada.id) == expected
    assert engine.enrollment(ada.id).exit_reason == "completed"
    assert engine.payloads["welcome"]["subject"] == "Welcome Ada!"
    assert engine.payloads["welcome_notification"]["body"]["topic"] == "user:1"
    assert engine.payloads["setup_reminder"]["text"] == "Hi Ada, you are 50 % there."
    assert engine.payloads["activation_sms"]["body"] == {
        "to": "+15555550100",
        "text": "Hi Ada! You've completed 50% of setup.",
    }


@pytest.mark.slow
def test_the_digest_comes_on_a_monday_at_nine_in_new_york(engine: Examples) -> None:
    engine.apply(None, document("saas_onboarding"))
    for day in range(7):
        engine.clock.set(START + timedelta(days=day))
        (digest,) = (
            row.at.astimezone(NEW_YORK)
            for row in engine.simulate(None, "saas_onboarding", ADA)
            if row.step_key == "weekly_digest"
        )
        assert f"{digest:%A %H:%M}" == "Monday 09:00"


@pytest.mark.slow
def test_who_has_completed_the_setup_is_not_reminded_of_it(engine: Examples) -> None:
    engine.apply(None, document("saas_onboarding"))
    reminder = engine.run(engine.sign_up(tasks_done=2).id)[2]
    assert reminder[::2] == ("setup_reminder", "skipped")
    assert reminder.reason == "condition_false"


@pytest.mark.slow
def test_the_sms_is_for_enterprise_only(engine: Examples) -> None:
    engine.apply(None, document("saas_onboarding"))
    ada = engine.sign_up(plan_tier="free")
    sms = engine.run(ada.id)[-1]
    assert sms == Step("activation_sms", SMS, "skipped", "condition_false")
    assert engine.enrollment(ada.id).exit_reason == "completed"


# Lead nurture.

DAYS = {"initial_email": 0, "enterprise_pitch": 3, "notify_sales": 6, "update_crm": 20}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "state", "reason"),
    [(85, "sent", None), (70, "sent", None), (69.5, "skipped", "condition_false")],
)
def test_only_hot_leads_are_pitched_to_and_told_of(
    engine: Examples, score: float, state: str, reason: str | None
) -> None:
    engine.apply(None, document("lead_nurture"))
    lead = engine.enroll(None, "lead_nurture", "Lead", "7", ADA)
    hot = ("enterprise_pitch", "notify_sales")
    expected = [
        Step(key, timedelta(days=days), *((state, reason) if key in hot else ("sent", None)))
        for key, days in DAYS.items()
    ]
    assert engine.simulated("lead_nurture", ADA, hooks={"lead_score": score}) == expected
    assert engine.run(lead.id, score) == expected
    assert engine.enrollment(lead.id).exit_reason == "completed"
    assert engine.payloads["initial_email"]["subject"] == "Quick question about Initech"
    assert engine.payloads["update_crm"] == {
        "url": "https://crm.example.com/api/leads/7",
        "method": "PATCH",
        "type": "lead.updated",
        "body": {"status": "unresponsive"},
    }


@pytest.mark.slow
def test_sales_hear_who_the_lead_is_and_how_hot(engine: Examples) -> None:
    engine.apply(None, document("lead_nurture"))
    engine.run(engine.enroll(None, "lead_nurture", "Lead", "7", ADA).id, 85)
    assert engine.payloads["notify_sales"]["body"] == {
        "channel": "#sales",
        "text": "🔥 Hot lead: Ada at Initech (score: 85)",
    }


def test_a_lead_whose_score_is_not_to_be_had_is_not_hot(engine: Examples) -> None:
    engine.apply(None, document("lead_nurture"))
    states = [step.state for step in engine.simulated("lead_nurture", ADA)]
    assert states == ["sent", "skipped", "skipped", "sent"]


def test_a_lead_who_books_a_call_hears_no_more(engine: Examples) -> None:
    engine.apply(None, document("lead_nurture"))
    lead = engine.enroll(None, "lead_nurture", "Lead", "7", ADA)
    engine.run(lead.id, 85, until="4 days")
    engine.track_event(None, "call_booked", subscriber_type="Lead", subscriber_id="7")
    ended = engine.enrollment(lead.id)
    assert (ended.state, ended.exit_reason) == ("completed", "call_booked")
    assert [step.state for step in engine.run(lead.id)] == ["sent", "sent", "cancelled"]


# Trial ending.


@pytest.mark.slow
def test_the_end_of_a_trial_is_told_over_all_channels_at_once(engine: Examples) -> None:
    engine.apply(None, document("trial_ending"))
    ada = ADA | {"telegram_chat_id": "99"}
    enrollment = engine.enroll(None, "trial_ending", "User", "1", ada)
    expected = [
        Step(key, timedelta(days=13), "sent", None)
        for key in ("email", "sms", "in_app", "telegram")
    ]
    assert engine.simulated("trial_ending", ada) == expected
    assert engine.run(enrollment.id) == expected
    assert engine.enrollment(enrollment.id).exit_reason == "completed"
    assert engine.payloads["telegram"]["body"] == {
        "chat_id": "99",
        "text": "⚠️ Your trial ends tomorrow! Upgrade now: https://app.example.com/upgrade",
    }
    assert engine.payloads["in_app"]["body"]["payload"] == {"type": "trial_ending", "days": 1}


@pytest.mark.slow
def test_channels_that_somebody_does_not_have_are_left_out(engine: Examples) -> None:
    engine.apply(None, document("trial_ending"))
    data = {"email": "kim@example.com"}
    enrollment = engine.enroll(None, "trial_ending", "User", "2", data)
    states = {step.key: step.state for step in engine.run(enrollment.id)}
    assert states == {"email": "sent", "sms": "skipped", "in_app": "sent", "telegram": "skipped"}


def test_who_has_upgraded_is_told_nothing(engine: Examples) -> None:
    engine.apply(None, document("trial_ending"))
    enrollment = engine.enroll(None, "trial_ending", "User", "1", ADA)
    engine.clock.advance(days=12)
    engine.track_event(None, "upgraded", subscriber_id="1")
    assert engine.enrollment(enrollment.id).exit_reason == "upgraded"
    assert [step.state for step in engine.run(enrollment.id)] == ["cancelled"]
