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
    "an event without a name": {"steps": [email("a", timing={"type": "event"})]},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_the_schema_refuses_what_the_engine_refuses(engine: Engine, fault: str) -> None:
    document = onboarding() | REFUSED[fault]
    with engine.refused(DripdropError):
        engine.apply(TENANT, document)
    assert not validator(engine).is_valid(document)


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
