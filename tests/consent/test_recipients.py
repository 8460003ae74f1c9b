"""A message goes to the one address that was checked, whatever its template or payload says."""

from __future__ import annotations

import pytest

from dripdrop.errors import InvalidArgument
from tests.engine import TEMPLATE, TENANT, Engine, email

EVE = "eve@example.com"


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "recipient"])
def test_a_template_names_no_recipient(engine: Engine, field: str) -> None:
    step = email("a", template=TEMPLATE | {field: EVE})
    with engine.refused(InvalidArgument):
        engine.apply(TENANT, {"key": "x", "name": "X", "steps": [step]})


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "recipient_normalized"])
def test_a_step_names_no_other_recipient(engine: Engine, field: str) -> None:
    step = email("a", config={field: EVE})
    with engine.refused(InvalidArgument):
        engine.apply(TENANT, {"key": "x", "name": "X", "steps": [step]})


def test_a_rendered_message_goes_where_it_was_decided_to_go(engine: Engine) -> None:
    engine.author()
    sam = engine.join()
    engine.tick()
    engine.complete_renders(
        [
            {
                "execution": str(claim.execution_id),
                "fence": claim.fence,
                "message": claim.message_id,
                "recipient": EVE,
                "payload": {"subject": "Hello", "text": "Hello", "recipient": EVE, "to": EVE},
            }
            for claim in engine.claim_renders()
        ]
    )
    engine.rows(
        "update dripdrop.enrollments set data = jsonb_build_object('email', %s::text) returning 1",
        EVE,
    )
    assert [claim.recipient for claim in engine.claim_sends("email")] == ["sam@example.com"]
    assert engine.executions(sam.id)[0].recipient == "sam@example.com"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("sam@example.com", None),
        (" Sam.O'Neil+news@Mail.Example.co.uk ", None),
        ("sam@localhost", None),
        ("sam", "invalid_recipient"),
        ("sam@", "invalid_recipient"),
        ("@example.com", "invalid_recipient"),
        ("sam@@example.com", "invalid_recipient"),
        ("sam@example..com", "invalid_recipient"),
        ("sam smith@example.com", "invalid_recipient"),
        ("sam@example.com, eve@example.com", "invalid_recipient"),
        ("Sam <sam@example.com>", "invalid_recipient"),
        ("sam@example.com\r\nBcc: eve@example.com", "invalid_recipient"),
        ("x" * 250 + "@example.com", "invalid_recipient"),
        ("", "invalid_recipient"),
        (None, "no_recipient"),
    ],
)
def test_an_address_is_one_that_mail_can_go_to(
    engine: Engine, address: str | None, reason: str | None
) -> None:
    engine.author()
    sam = engine.join()
    engine.rows(
        "update dripdrop.enrollments set data = jsonb_build_object('email', %s::text) returning 1",
        address,
    )
    (gate,) = (g for g in engine.explain(TENANT, sam.id) if g.gate == "recipient")
    assert gate.reason == reason


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+1 (415) 555-2671", "+14155552671"),
        ("0044 20 7946 0958", "+442079460958"),
        ("+44.20.7946.0958", "+442079460958"),
    ],
)
def test_a_number_is_dialled_as_e164_writes_it(engine: Engine, written: str, number: str) -> None:
    engine.author(email("welcome"))
    with engine.unguarded():
        for table in ("steps", "channel_adapters"):
            engine.connection.execute(
                f"update dripdrop.{table} set channel = 'sms' where channel = 'email'".encode()
            )
    sam = engine.join(data={"phone": written})
    engine.tick()
    assert engine.last(sam.id).recipient == number
