"""One table says what documents may say, and a JSON Schema is made of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dripdrop.documents import read
from dripdrop.errors import DripdropError, InvalidArgument
from tests.authoring.test_apply import whole
from tests.engine import TEMPLATE, TENANT, Engine, after, email, onboarding

pytestmark = pytest.mark.slow

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
HOOK = {"key": "score", "url": "https://example.com"}


def validator(engine: Engine, kind: str = "sequence") -> Draft202012Validator:
    """Return what judges documents of a kind."""
    schema = engine.json_schema(kind)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_a_kind_has_a_field_once(engine: Engine) -> None:
    rows = [(row.kind, row.field) for row in engine.fields()]
    assert len(rows) == len(set(rows)) > 100


def test_every_field_is_described_and_says_since_when(engine: Engine) -> None:
    assert [
        (row.kind, row.field)
        for row in engine.fields()
        if not row.description or not re.fullmatch(r"\d+\.\d+\.\d+", row.since)
    ] == []


@pytest.mark.parametrize("kind", ["step.config", "sequence.config", "thresholds", "send_window"])
def test_every_choice_and_no_other_word_is_taken(engine: Engine, kind: str) -> None:
    query = "select dripdrop._check_document(%s, %s)"
    for row in engine.fields():
        if row.kind != kind or row.choices is None or row.type == "list":
            continue
        for choice in row.choices:
            engine.rows(query, f'{{"{row.field}": "{choice}"}}', kind)
        with engine.refused(InvalidArgument) as refusal:
            engine.rows(query, f'{{"{row.field}": "sideways"}}', kind)
        assert refusal.value.diag.column_name == row.field


def test_what_is_missing_is_refused_with_what_belongs_there(engine: Engine) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.rows("select dripdrop._check_document('{}', 'sequence')")
    assert refusal.value.diag.column_name == "key"
    assert "lower-case letters" in (refusal.value.diag.message_hint or "")
    assert "begin with" in (refusal.value.diag.message_hint or "")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_schema_takes_the_examples(engine: Engine, path: Path) -> None:
    judge = validator(engine)
    for document in read(path.read_text(), path.name):
        assert [error.message for error in judge.iter_errors(document.value)] == []


def test_the_schema_takes_a_document_with_everything_in_it(engine: Engine) -> None:
    assert [error.message for error in validator(engine).iter_errors(whole())] == []


@pytest.mark.parametrize(
    ("timing", "fits"),
    [
        ("3 days before data.starts_at at 9am", True),
        ({"type": "interval", "interval_amount": 2, "interval_unit": "weeks"}, True),
        (
            {
                "type": "interval",
                "interval_amount": 2,
                "interval_unit": "weeks",
                "days": ["mon"],
                "at": "09:00",
            },
            True,
        ),
        ({"type": "interval", "interval_amount": 0, "interval_unit": "weeks"}, False),
        ({"type": "interval", "interval_amount": 2, "interval_unit": "fortnights"}, False),
        ({"type": "relative", "relative_to": "data.starts_at"}, True),
        (
            {
                "type": "relative",
                "relative_to": "data.starts_at",
                "delay_amount": -3,
                "delay_unit": "days",
            },
            True,
        ),
        ({"type": "relative", "relative_to": "starts_at"}, False),
        ({"type": "delay", "delay_amount": 1, "delay_unit": "months", "at": "09:00"}, True),
        ({"type": "delay", "delay_amount": 1, "delay_unit": "days", "at": "9am"}, False),
    ],
)
def test_the_schema_takes_the_timings_that_the_engine_takes(
    engine: Engine, timing: Any, fits: bool
) -> None:
    document = onboarding(email("tip", timing=timing))
    assert validator(engine).is_valid(document) == fits
    if fits:
        engine.author(email("tip", timing=timing))
    else:
        with engine.refused(DripdropError):
            engine.apply(TENANT, document)


REFUSED: dict[str, dict[str, Any]] = {
    "no such field": {"kye": "x"},
    "steps that are none": {"steps": []},
    "a key in capitals": {"key": "No"},
    "no name": {"name": None},
    "a word for reentry": {"reentry": "sometimes"},
    "a text for activate": {"activate": "yes"},
    "too many hops": {"config": {"hop_limit": 1001}},
    "a setting of the version": {"config": {"pool": 1}},
    "a hook without a url": {"hooks": [{"key": "score"}]},
    "a hook over http": {"hooks": [HOOK | {"url": "http://example.com"}]},
    "a hook that waits for a minute": {"hooks": [HOOK | {"timeout_ms": 60_000}]},
    "a goal that is a number": {"goals": [5]},
    "a condition's word from elsewhere": {"goals": [{"condition_type": "hook", "hook": "x"}]},
    "a way to nowhere": {"entry": [{}]},
    "a mode of its own": {"entry": [{"to": None, "when": "often"}]},
    "a step that is a number": {"steps": [5]},
    "a step without a channel": {"steps": [{"key": "a", "template": TEMPLATE}]},
    "a setting that nobody knows": {"steps": [email("a", config={"max_retrys": 3})]},
    "retries without an end": {"steps": [email("a", config={"max_retries": 1000})]},
    "another word for stale": {"steps": [email("a", config={"on_stale": "drop"})]},
    "a window by hours": {"steps": [email("a", config={"send_window": {"start": 8}})]},
    "a day that is none": {"steps": [email("a", config={"send_window": {"days": ["monday"]}})]},
    "a rate in words": {"steps": [email("a", config={"rate_limits": {"adapter": "many"}})]},
    "a scope that is none": {"steps": [email("a", config={"rate_limits": {"planet": "1/h"}})]},
    "a rotation of nobody": {"steps": [email("a", config={"channel_adapter_rotation": []})]},
    "a timing of no type": {"steps": [email("a", timing={"type": "someday"})]},
    "a delay in fortnights": {"steps": [email("a", timing=after(1, "fortnights"))]},
    "a template of another channel": {"steps": [email("a", template={"url": "https://x.example"})]},
    "an email's words in a webhook": {"steps": [email("a", channel="webhook")]},
    "an event without a name": {"steps": [email("a", timing={"type": "event"})]},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_the_schema_refuses_what_the_engine_refuses(engine: Engine, fault: str) -> None:
    document = onboarding() | REFUSED[fault]
    with engine.refused(DripdropError):
        engine.apply(TENANT, document)
    assert not validator(engine).is_valid(document)


@pytest.mark.slow
def test_every_kind_has_a_schema(engine: Engine) -> None:
    for kind in {row.kind for row in engine.fields()}:
        assert validator(engine, kind)


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(engine: Engine) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.json_schema("tenant")
    assert "step.config" in (refusal.value.diag.message_hint or "")


def test_the_settings_of_a_sender_have_a_schema(engine: Engine) -> None:
    judge = validator(engine, "email.smtp")
    assert judge.is_valid({"host": "mail.acme.example", "from": "a@acme.example", "port": 25})
    assert judge.is_valid({"host": "mail.acme.example", "from": "a@acme.example", "extra": 1})
    assert not judge.is_valid({"host": "mail..example", "from": "a@acme.example"})
    assert not judge.is_valid({"host": "mail.acme.example"})
    assert not judge.is_valid(
        {"host": "a", "from": "a@acme.example", "thresholds": {"bounce_rate": 2}}
    )


ARGUMENTS = {
    "tenant_settings": "update_tenant_settings",
    "adapter_limits": "set_adapter_limits",
    "sequence_budget": "set_adapter_sequence_budget",
    "frequency_cap": "set_frequency_cap",
}
"""Whose arguments a kind describes."""


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_every_setting_that_a_function_takes_is_a_field(engine: Engine, kind: str) -> None:
    (row,) = engine.rows(
        "select proargnames[:pronargs] as names from pg_proc where proname = %s", ARGUMENTS[kind]
    )
    owners = {"tenant_key", "adapter_id", "sequence_version_id"}
    fields = {row.field for row in engine.fields() if row.kind == kind}
    assert fields == set(row.names) - owners


def test_what_a_template_may_hold_depends_on_the_channel(engine: Engine) -> None:
    engine.register_channel("fax", [{"field": "page", "description": "Its words."}])
    judge = validator(engine)
    templates = {
        "email": {"subject": "Hi", "text": "Hi"},
        "webhook": {"body": {"a": 1}},
        "fax": {"page": "Hi"},
    }
    for channel in templates:
        for other, template in templates.items():
            step = {"key": "a", "channel": channel, "template": template}
            assert judge.is_valid(onboarding(step)) == (channel == other), (channel, other)


COMMENTED = {
    ("steps", "config"): "step.config",
    ("sequence_versions", "config"): "sequence.config",
    ("sequences", "metadata"): "sequence.metadata",
    ("tenant_settings", "thresholds"): "thresholds",
    ("channel_adapters", "rate_limits"): "rate_limits",
}


def comment(engine: Engine, table: str, column: str) -> str:
    """Return the comment on a column."""
    (row,) = engine.rows(
        "select col_description(attrelid, attnum) as text from pg_attribute"
        " where attrelid = %s::regclass and attname = %s",
        f"dripdrop.{table}",
        column,
    )
    return str(row.text)


@pytest.mark.parametrize(("table", "column"), COMMENTED)
def test_the_comment_on_a_document_names_its_fields(
    engine: Engine, table: str, column: str
) -> None:
    fields = [row.field for row in engine.fields() if row.kind == COMMENTED[table, column]]
    assert comment(engine, table, column).endswith(f"Fields: {', '.join(fields)}.")


def test_the_comment_on_a_setting_is_what_its_field_says(engine: Engine) -> None:
    tables = {"adapter_limits": "channel_adapters", "frequency_cap": "frequency_caps"}
    checked = 0
    for row in engine.fields():
        if row.kind in tables and row.type != "document":
            text = comment(engine, tables[row.kind], row.field)
            plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", row.description).replace("`", "")
            assert text == f"{plain[0].upper()}{plain[1:]}."
            checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"daily_cap": 0}, "daily_cap"),
        ({"ramp_floor": 5, "ramp_increment": 2_000_000_000}, "ramp_increment"),
        (
            {"ramp_floor": 5, "ramp_increment": 3, "ramp_started_at": "-infinity"},
            "ramp_started_at",
        ),
        ({"time_zone": "Mars"}, "time_zone"),
        ({"rate_limits": {"planet": "1/h"}}, "rate_limits.planet"),
    ],
)
def test_a_limit_is_refused_by_its_row(engine: Engine, limits: dict[str, Any], field: str) -> None:
    sender = engine.create_channel_adapter(TENANT, "Hook", "webhook", "default")
    with engine.refused(DripdropError) as refusal:
        engine.set_adapter_limits(TENANT, sender.id, **limits)
    assert refusal.value.diag.column_name == field
    if field in {"daily_cap", "ramp_increment"}:
        hint = "At most 1000000000; leave it out for no limit."
        assert refusal.value.diag.message_hint == hint


@pytest.mark.parametrize(
    ("shares", "hint"),
    [
        ({"max_share_pct": 101}, "Use 1 to 100."),
        ({"max_share_pct": None}, "Use 1 to 100."),
        ({"weight": 0}, "Use 1 to 1000."),
        ({"daily_volume_target": 0}, "Leave it out for none."),
    ],
)
def test_a_budget_is_refused_by_its_row(engine: Engine, shares: dict[str, Any], hint: str) -> None:
    sender = engine.create_channel_adapter(TENANT, "Hook", "webhook", "default")
    version = engine.author(email("a"))
    with engine.refused(InvalidArgument) as refusal:
        engine.set_adapter_sequence_budget(TENANT, sender.id, version.id, **shares)
    assert refusal.value.diag.column_name == next(iter(shares))
    assert refusal.value.diag.message_hint == hint
