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
                "payload": {"subject": "Hello", "recipient": EVE, "to": EVE},
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
