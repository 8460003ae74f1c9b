"""A channel and a provider that somebody registers are as good as those that come with DripDrop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dripdrop.errors import (
    AlreadyExists,
    InvalidArgument,
    InvalidTransition,
    MissingRecipient,
    StillUsed,
    UnknownProvider,
)
from tests.engine import TENANT, Engine, onboarding

FAX: dict[str, Any] = {
    "channel": "fax",
    "template": [
        {"field": "title", "description": "What it is about.", "required": True},
        {"field": "body", "description": "Liquid."},
        {"field": "picture", "description": "Its address."},
        {"field": "quality", "description": "low or high.", "choices": ["low", "high"]},
        {"field": "headers", "description": "What stands above.", "type": "object"},
    ],
    "address_form": "phone",
    "recipient_key": "fax",
    "one_of": ["body", "picture"],
    "own_headers": "^(station-id)$",
    "retry_for": "3 hours",
    "topics": False,
}
SETTINGS = [
    {"field": "station", "description": "3 capitals.", "required": True, "pattern": "^[A-Z]{3}$"},
    {"field": "pin", "description": "Its number.", "secret": True},
    {"field": "line", "description": "Its line.", "destination": True},
]
TEXT = [{"field": "text", "description": "The message."}]
TEMPLATE = {"title": "Hello", "body": "Hello {{ name }}"}


@pytest.fixture
def faxing(engine: Engine) -> Engine:
    """An engine that sends faxes."""
    engine.register_channel(**FAX)
    engine.register_provider("fax", "acme", SETTINGS, idempotent=True)
    return engine


def fax(**fields: Any) -> dict[str, Any]:
    """Return a step that sends a fax."""
    return {"key": "fax", "channel": "fax", "template": TEMPLATE} | fields


def sender(engine: Engine) -> Any:
    return engine.create_channel_adapter(
        TENANT, "Fax", "fax", "acme", config={"station": "BER"}, is_default=True
    )


def test_a_message_goes_all_the_way_over_a_registered_channel(faxing: Engine) -> None:
    started = {row.object: row.action for row in faxing.rows("select * from dripdrop.start()")}
    assert started["dripdrop_send_fax"] == "created"
    adapter = sender(faxing)
    faxing.apply(TENANT, onboarding(fax()))
    sam = faxing.enroll(TENANT, "onboarding", "User", "sam", data={"fax": "0049 30 123456"})
    assert faxing.tick().queued == 1
    (render,) = faxing.claim_renders()
    assert (render.channel, render.template) == ("fax", TEMPLATE)
    payload = TEMPLATE | {"body": "Hello Sam"}
    faxing.complete_renders(
        [
            {
                "execution": str(render.execution_id),
                "fence": render.fence,
                "message": render.message_id,
                "payload": payload,
            }
        ]
    )
    (send,) = faxing.claim_sends("fax")
    assert (send.recipient, send.payload) == ("+4930123456", payload)
    assert send.adapter["config"] == {"station": "BER"}
    faxing.complete_sends(
        [{"execution": str(send.execution_id), "fence": send.fence, "outcome": "sent"}]
    )
    (execution,) = faxing.executions(sam.id)
    assert (execution.state, execution.adapter_id) == ("sent", adapter.id)
    assert faxing.enrollment(sam.id).state == "completed"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"title": " ", "body": "Hello"}, "missing_title"),
        ({"title": "Hello"}, "empty_message"),
        ({"title": "Hello", "body": "", "picture": None}, "empty_message"),
    ],
)
def test_a_message_of_a_registered_channel_that_came_out_empty_is_not_sent(
    faxing: Engine, payload: dict[str, Any], reason: str
) -> None:
    faxing.rows("select * from dripdrop.start()")
    sender(faxing)
    faxing.apply(TENANT, onboarding(fax()))
    sam = faxing.enroll(TENANT, "onboarding", "User", "sam", data={"fax": "0049 30 123456"})
    faxing.tick()
    (render,) = faxing.claim_renders()
    result = {
        "execution": str(render.execution_id),
        "fence": render.fence,
        "message": render.message_id,
        "payload": payload,
    }
    assert faxing.complete_renders([result]) == 0
    (execution,) = faxing.executions(sam.id)
    assert (execution.state, execution.reason) == ("failed", reason)


def test_a_registered_channel_says_which_of_its_fields_are_mailboxes(faxing: Engine) -> None:
    field = {"field": "station", "type": "mailbox", "description": "Who it is from."}
    faxing.register_channel(**FAX | {"template": [*FAX["template"], field]})
    sender(faxing)
    faxing.apply(TENANT, onboarding(fax()))
    faxing.enroll(TENANT, "onboarding", "User", "sam", data={"fax": "0049 30 123456"})
    faxing.rows("select * from dripdrop.start()")
    faxing.tick()
    (render,) = faxing.claim_renders()
    assert render.mailboxes == ["station"]


def test_a_registered_channel_says_how_long_to_retry_and_how_to_repeat(faxing: Engine) -> None:
    faxing.rows("select * from dripdrop.start()")
    sender(faxing)
    faxing.apply(TENANT, onboarding(fax()))
    sam = faxing.enroll(TENANT, "onboarding", "User", "sam", data={"fax": "+4930123456"})
    faxing.tick()
    (render,) = faxing.claim_renders()
    faxing.complete_renders(
        [
            {
                "execution": str(render.execution_id),
                "fence": render.fence,
                "message": render.message_id,
                "payload": TEMPLATE,
            }
        ]
    )
    (send,) = faxing.claim_sends("fax")
    faxing.complete_sends(
        [{"execution": str(send.execution_id), "fence": send.fence, "outcome": "maybe_sent"}]
    )
    (execution,) = faxing.executions(sam.id)
    assert execution.state == "scheduled"  # and not unknown: the provider drops repeats
    (words,) = [
        row.detail
        for row in faxing.explain(TENANT, sam.id)
        if row.gate == "retry" and row.detail is not None
    ] or [""]
    assert "tried until 2026-03-02 12:00:00 UTC" in words


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ({"body": "x"}, "template.title"),
        ({"title": "x"}, "template.body"),
        (TEMPLATE | {"text": "x"}, "template.text"),
        (TEMPLATE | {"quality": "best"}, "template.quality"),
        (TEMPLATE | {"headers": {"Station-Id": "x"}}, "template.headers.Station-Id"),
    ],
)
def test_the_templates_of_a_registered_channel_are_checked(
    faxing: Engine, words: dict[str, Any], place: str
) -> None:
    with faxing.refused(InvalidArgument) as refusal:
        faxing.apply(TENANT, onboarding(fax(template=words)))
    assert refusal.value.diag.column_name == f"steps[0].{place}"


def test_a_channel_without_topics_has_none(faxing: Engine) -> None:
    with faxing.refused(InvalidArgument) as refusal:
        faxing.apply(TENANT, onboarding(fax(config={"topic": "news"})))
    assert refusal.value.diag.column_name == "steps[0].config.topic"


def test_whoever_has_no_address_of_the_channel_cannot_be_enrolled(faxing: Engine) -> None:
    sender(faxing)
    faxing.apply(TENANT, onboarding(fax()))
    with faxing.refused(MissingRecipient) as refusal:
        faxing.enroll(TENANT, "onboarding", "User", "sam", data={"email": "sam@example.com"})
    assert "data.fax" in (refusal.value.diag.message_hint or "")


def test_addresses_of_a_registered_channel_can_be_suppressed(faxing: Engine) -> None:
    assert faxing.suppress(TENANT, "fax", "0049 30 123456").recipient_normalized == "+4930123456"
    assert faxing.is_suppressed(TENANT, "fax", "+49 30 123456")


def test_the_accounts_of_a_registered_provider_are_checked(faxing: Engine) -> None:
    for config, field in (({}, "station"), ({"station": "x"}, "station"), ({"pin": "1"}, "pin")):
        with faxing.refused(InvalidArgument) as refusal:
            faxing.create_channel_adapter(TENANT, "Fax", "fax", "acme", config=config)
        assert refusal.value.diag.column_name in (f"config.{field}", "config.station")
    described = [row.field for row in faxing.provider_settings() if row.kind == "fax.acme"]
    assert described == ["station", "pin", "line", "max_in_flight", "thresholds"]


def test_what_is_registered_is_listed(faxing: Engine) -> None:
    assert ("fax", "acme", True) in [tuple(row) for row in faxing.providers()]
    (row,) = [row for row in faxing.channels() if row.channel == "fax"]
    assert (row.address_form, row.recipient_key, row.providers, row.shipped) == (
        "phone",
        "fax",
        ["acme"],
        False,
    )


def test_a_registered_channel_can_be_changed(faxing: Engine) -> None:
    changed = faxing.register_channel("fax", TEXT, retry_for="1 hour")
    assert (changed.address_form, changed.one_of) == ("none", None)


def test_a_channel_that_is_known_gets_a_provider(engine: Engine) -> None:
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: engine.apply(TENANT, onboarding(fax(channel="sms", template={"text": "Hi"}))),
        lambda: engine.create_channel_adapter(TENANT, "A", "sms", "acme"),
    )
    for attempt in attempts:
        with engine.refused(UnknownProvider) as refusal:
            attempt()
        assert 'no provider serves channel "sms"' in str(refusal.value.diag.message_primary)
        assert "register_provider()" in str(refusal.value.diag.message_hint)
    engine.register_provider("sms", "acme")
    engine.apply(TENANT, onboarding(fax(channel="sms", template={"text": "Hi"})))


def test_what_comes_with_dripdrop_is_not_registered_again(engine: Engine) -> None:
    with engine.refused(AlreadyExists):
        engine.register_channel("email", TEXT)
    with engine.refused(AlreadyExists):
        engine.register_provider("email", "smtp")


def test_a_provider_needs_a_channel(engine: Engine) -> None:
    with engine.refused(UnknownProvider):
        engine.register_provider("fax", "acme")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"channel": "Fax"}, "channel"),
        ({"channel": "f" * 40}, "channel"),
        ({"address_form": "pigeon"}, "address_form"),
        ({"recipient_key": None}, "recipient_key"),
        ({"own_headers": "("}, "own_headers"),
        ({"retry_for": "-1 hour"}, "retry_for"),
        ({"template": {}}, "template"),
        ({"template": [{"field": "A"}]}, "template[0].field"),
        ({"template": [{"field": "a"}]}, "template[0].description"),
        ({"template": [TEXT[0] | {"kind": 1}]}, "template[0].kind"),
        ({"template": [TEXT[0] | {"pattern": "("}]}, "template[0].pattern"),
        ({"template": [TEXT[0] | {"type": "colour"}]}, "template[0].type"),
        ({"template": [*TEXT, *TEXT]}, "template"),
        ({"template": [TEXT[0] | {"hint": ""}]}, "template[0].hint"),
        (
            {"template": [*TEXT, TEXT[0] | {"field": "n", "type": "integer", "choices": ["1"]}]},
            "template[1].choices",
        ),
        ({"template": [TEXT[0] | {"type": "boolean", "pattern": "x"}]}, "template[0].pattern"),
        ({"one_of": ["sound"]}, "one_of"),
        ({"own_hosts": True}, "own_hosts"),
        (
            {"unsubscribe": True, "address_form": "none", "recipient_key": None},
            "unsubscribe",
        ),
    ],
)
def test_a_channel_that_cannot_work_is_refused(
    engine: Engine, change: dict[str, Any], place: str
) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.register_channel(**(FAX | change))
    assert refusal.value.diag.column_name == place


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, "settings"),
        ([1], "settings[0]"),
        ([TEXT[0] | {"secret": "yes"}], "settings[0].secret"),
        ([TEXT[0] | {"pattern": "["}], "settings[0].pattern"),
        ([TEXT[0] | {"type": "object", "pattern": "a"}], "settings[0].pattern"),
        ([TEXT[0] | {"field": "thresholds"}], "settings[0].field"),
        ([*TEXT, TEXT[0] | {"field": "max_in_flight"}], "settings[1].field"),
    ],
)
def test_a_provider_that_cannot_work_is_refused(engine: Engine, settings: Any, place: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.register_provider("sms", "acme", settings)
    assert refusal.value.diag.column_name == place


def test_whoever_wrote_something_else_is_told_what_to_write(engine: Engine) -> None:
    field = {"field": "station", "description": "The station.", "pattern": "^[A-Z]{3}$"}
    for hint in ("Write three capitals.", None):
        described = field | ({"hint": hint} if hint else {})
        engine.register_provider("sms", "acme", [described])
        with engine.refused(InvalidArgument) as refusal:
            engine.create_channel_adapter(TENANT, "A", "sms", "acme", config={"station": "x"})
        assert refusal.value.diag.message_hint == (hint or "The station.")


def user_in(refusal: Any) -> str:
    """Return what uses the thing that is not removed, by the message."""
    return str(refusal.value.diag.message_primary).partition(" is used by ")[2]


def test_what_nothing_uses_is_unregistered_with_all_that_describes_it(faxing: Engine) -> None:
    faxing.rows("select * from dripdrop.start()")
    assert faxing.unregister_provider("fax", "acme").provider == "acme"
    assert faxing.unregister_channel("fax").recipient_key == "fax"
    assert "fax" not in {row.channel for row in [*faxing.channels(), *faxing.providers()]}
    kinds = {"template.fax", "fax.acme"}
    assert [row for row in faxing.fields() if row.kind in kinds] == []
    started = {row.object: row.action for row in faxing.rows("select * from dripdrop.start()")}
    assert started["dripdrop_send_fax"] == "dropped"
    assert "dripdrop_send_fax" not in {
        row.object for row in faxing.rows("select * from dripdrop.start()")
    }


def test_stop_removes_the_queue_of_a_channel_that_is_gone(faxing: Engine) -> None:
    faxing.rows("select * from dripdrop.start()")
    faxing.unregister_provider("fax", "acme")
    stopped = {row.object: row.action for row in faxing.rows("select * from dripdrop.stop()")}
    assert stopped["dripdrop_send_fax"] == "dropped"


def test_a_provider_that_a_sender_is_of_stays(faxing: Engine) -> None:
    sender(faxing)
    with faxing.refused(StillUsed) as refusal:
        faxing.unregister_provider("fax", "acme")
    assert user_in(refusal) == 'sender "Fax" of tenant "acme"'
    assert "acme" in {row.provider for row in faxing.providers()}


def test_the_last_provider_of_a_channel_that_a_step_is_of_stays(faxing: Engine) -> None:
    faxing.register_provider("fax", "umbrella")
    faxing.apply(TENANT, onboarding(fax()))
    faxing.unregister_provider("fax", "umbrella")
    with faxing.refused(StillUsed) as refusal:
        faxing.unregister_provider("fax", "acme")
    assert user_in(refusal) == 'step "fax" of tenant "acme"'


USES: dict[str, Any] = {
    'frequency cap "few" of tenant "acme"': lambda engine: engine.set_frequency_cap(
        TENANT, "few", 1, "1 day", channel="fax"
    ),
    'pause "fax"': lambda engine: engine.pause_sending(None, "channel", "fax"),
    'send window "fax" of tenant "acme"': lambda engine: engine.update_tenant_settings(
        TENANT, channel_send_windows={"fax": {"start": "08:00"}}
    ),
    "a suppression": lambda engine: engine.suppress(TENANT, "fax", "+4930123456"),
}


@pytest.mark.parametrize("user", USES)
def test_a_channel_that_something_is_of_stays(faxing: Engine, user: str) -> None:
    USES[user](faxing)
    with faxing.refused(StillUsed) as refusal:
        faxing.unregister_channel("fax")
    assert user_in(refusal) == 'provider "acme"'
    faxing.unregister_provider("fax", "acme")
    with faxing.refused(StillUsed) as refusal:
        faxing.unregister_channel("fax")
    assert user_in(refusal) == user
    assert "fax" in {row.channel for row in faxing.channels()}


def test_what_comes_with_dripdrop_or_is_not_there_is_not_unregistered(engine: Engine) -> None:
    for refused, arguments in ((InvalidTransition, ("sms",)), (UnknownProvider, ("fax",))):
        with engine.refused(refused) as refusal:
            engine.unregister_channel(*arguments)
        assert refusal.value.diag.column_name == "channel"
    for refused, pair in (
        (InvalidTransition, ("email", "smtp")),
        (UnknownProvider, ("email", "acme")),
    ):
        with engine.refused(refused) as refusal:
            engine.unregister_provider(*pair)
        assert refusal.value.diag.column_name == "provider"


def test_a_sender_that_is_created_meanwhile_keeps_its_provider(
    faxing: Engine, other: Engine
) -> None:
    with ThreadPoolExecutor() as pool:
        with other.connection.transaction():
            sender(other)
            removing = pool.submit(faxing.unregister_provider, "fax", "acme")
            other.wait_until_blocked(faxing.connection)
        with pytest.raises(StillUsed):
            removing.result(timeout=20)
