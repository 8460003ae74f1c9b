"""What a template is given: of what the engine says, nothing comes from data."""

from __future__ import annotations

from tests.engine import TENANT, Engine, email

OURS = {
    "subscriber_type": "Lead",
    "subscriber_id": "7",
    "enrollment_id": "7",
    "tenant_key": "umbrella",
    "sequence_key": "theirs",
    "step_key": "theirs",
    "now_iso8601": "never",
    "event": {"key": "forged"},
    "unsubscribe_url": "https://evil.example",
}


def test_reserved_variables_never_come_from_data(engine: Engine) -> None:
    engine.author(email("welcome"))
    sam = engine.join(data=OURS | {"email": "sam@example.com", "name": "Sam"})
    engine.tick()
    (claim,) = engine.claim_renders()
    variables = claim.variables
    assert variables["name"] == "Sam"
    assert {"event", "unsubscribe_url"}.isdisjoint(variables)
    assert (variables["enrollment_id"], variables["tenant_key"]) == (str(sam.id), TENANT)
    kept = [name for name, value in OURS.items() if variables.get(name) == value]
    assert kept == []


def test_the_link_is_made_of_where_the_message_goes(engine: Engine) -> None:
    engine.create_topic(TENANT, "news", "News")
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    engine.author(email("welcome", config={"topic": "news"}))
    engine.join(data={"email": "Sam@Example.com"})
    engine.tick()
    (claim,) = engine.claim_renders()
    assert claim.unsubscribe == {
        "url": "https://mail.acme.example",
        "mailto": None,
        "recipient": "sam@example.com",
        "topic": "news",
    }
