"""What cannot work, and what is called something else here, is refused where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from dripdrop.errors import DripdropError, InvalidArgument
from tests.engine import TEMPLATE, TENANT, Engine, email, onboarding

HOOK = {"key": "score", "url": "https://example.com"}

WORDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "timezone of a sequence": ({"timezone": "UTC"}, "timezone", '"time_zone"'),
    "re-enrolment": ({"allow_reenrollment": True}, "allow_reenrollment", '"reentry"'),
    "hook_module": ({"hook_module": "MyApp"}, "hook_module", "create_hook()"),
    "quiet_hours of a sequence": ({"quiet_hours": {}}, "quiet_hours", '"send_window"'),
    "quiet_hours of a step": (
        {"steps": [email("a", config={"quiet_hours": {"start": 9}})]},
        "steps[0].config.quiet_hours",
        '"send_window"',
    ),
    "timezone of a step": (
        {"steps": [email("a", config={"timezone": "UTC"})]},
        "steps[0].config.timezone",
        '"time_zone"',
    ),
    "body in the config": (
        {"steps": [email("a", config={"body": "Hello"})]},
        "steps[0].config.body",
        '"template"',
    ),
    "body of an email": (
        {"steps": [email("a", template={"subject": "Hello", "body": "Hello"})]},
        "steps[0].template.body",
        '"text" or "html"',
    ),
    "template_content": (
        {"steps": [email("a", template_content=TEMPLATE)]},
        "steps[0].template_content",
        '"template"',
    ),
    "channel_adapter_id": (
        {"steps": [email("a", channel_adapter_id="x")]},
        "steps[0].channel_adapter_id",
        '"adapter"',
    ),
    "condition_type": (
        {"goals": [{"condition_type": "hook", "hook": "x"}]},
        "goals[0].condition_type",
        '"type"',
    ),
    "condition_type alone": (
        {"steps": [email("a", conditions=[{"condition_type": "enrollment_data"}])]},
        "steps[0].conditions[0].condition_type",
        '"type"',
    ),
    "http_hook_id": (
        {"steps": [email("a", conditions=[{"type": "hook", "http_hook_id": "x"}])]},
        "steps[0].conditions[0].http_hook_id",
        '"hook"',
    ),
    "event_key": ({"exit_when": [{"event_key": "paid"}]}, "exit_when[0].event_key", '"event"'),
    "to_step": (
        {"steps": [email("a", transitions=[{"to_step": "a"}])]},
        "steps[0].transitions[0].to_step",
        '"to"',
    ),
    "an event's name": (
        {"steps": [email("a", timing={"type": "event", "event": "paid"})]},
        "steps[0].timing.event",
        '"trigger_event"',
    ),
    "a hook's body": ({"hooks": [HOOK | {"body": "x"}]}, "hooks[0].body", '"body_template"'),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_from_elsewhere_is_refused_with_ours(engine: Engine, word: str) -> None:
    fields, place, instead = WORDS[word]
    engine.author()
    with engine.refused(DripdropError) as refusal:
        engine.apply(TENANT, onboarding() | fields)
    diag = refusal.value.diag
    assert diag.column_name == place
    assert (diag.message_hint or "").startswith("Write ")
    assert instead in (diag.message_hint or "")
    assert "instead" in (diag.message_hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTP://example.com/x",
        "http://{{ host }}/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://localhost@example.com/",
        "http://127.0.0.1:80@example.com/",
        "http://10.0.0.1/",
        "ftp://example.com",
        "example.com",
        "//example.com",
    ],
)
def test_a_hook_is_asked_over_https(engine: Engine, url: str) -> None:
    engine.author()
    with engine.refused(InvalidArgument) as refusal:
        engine.author(hooks=[HOOK | {"url": url}])
    assert refusal.value.diag.column_name == "hooks[0].url"
    sequence = engine.get_sequence(TENANT, "onboarding")
    with engine.refused(InvalidArgument):
        engine.create_http_hook(TENANT, sequence.id, "other", url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/{{ subscriber_id }}",
        "https://{{ region }}.example.com",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
        "http://[::1]:8080",
        "http://127.0.0.1?x={{ y }}",
    ],
)
def test_a_hook_of_the_same_machine_may_do_without(engine: Engine, url: str) -> None:
    engine.author(hooks=[HOOK | {"url": url}])


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"Cc": "eve@example.com"}, "Cc"),
        ({"BCC": "eve@example.com"}, "BCC"),
        ({"X-Ok": "1", "To": "eve@example.com"}, "To"),
        ({"From": "eve@example.com"}, "From"),
        ({"Content-Type": "text/html"}, "Content-Type"),
        ({"Resent-To": "eve@example.com"}, "Resent-To"),
        ({"X-SMTPAPI": "{}"}, "X-SMTPAPI"),
        ({"X Y": "1"}, "X Y"),
        ({"X\r\nBcc": "1"}, "X\r\nBcc"),
        ({"X-List": ["a"]}, "X-List"),
        ({"": "a"}, ""),
    ],
)
def test_a_header_that_the_message_sets_itself_is_refused(
    engine: Engine, headers: dict[str, Any], name: str
) -> None:
    engine.author()
    with engine.refused(InvalidArgument) as refusal:
        engine.author(email("a"), email("b", template=TEMPLATE | {"headers": headers}))
    column = refusal.value.diag.column_name
    assert column == f"steps[1].template.headers.{name}".rstrip(".")
    step = engine.rows("select id from dripdrop.steps limit 1")[0]
    with engine.refused(InvalidArgument):
        engine.update_step_content(TENANT, step.id, TEMPLATE | {"headers": headers})


def test_other_headers_are_let_in(engine: Engine) -> None:
    headers = {"X-Campaign": "{{ campaign }}", "List-Id": "news.example.com", "X-Count": 3}
    engine.author(email("a", template=TEMPLATE | {"headers": headers}))
