"""Which messages carry a link, and what a mail server gets to see of it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import structlog

from dripdrop.errors import InvalidArgument
from dripdrop.vault import VaultError
from tests.conftest import Clock
from tests.daemon.conftest import OpenWorker
from tests.daemon.servers import MailServer
from tests.engine import TENANT, Engine, email
from tests.web.conftest import BASE, Reach

LINKED = {"subject": "Hello", "html": '<a href="{{ unsubscribe_url }}">No more</a>'}


def claimed(engine: Engine, **fields: Any) -> Any:
    """Return what a renderer is told about a step's link."""
    engine.author(email("welcome", **fields))
    engine.join()
    engine.tick()
    (claim,) = engine.claim_renders()
    return claim.unsubscribe


@pytest.mark.slow
def test_a_mail_carries_both_headers_in_the_shape_of_rfc_8058(reach: Reach) -> None:
    sent = reach()
    fields = re.findall(rb"^(List-Unsubscribe[\w-]*): (.*)\r\n(?! )", sent.content, re.MULTILINE)
    assert [name for name, _ in fields] == [b"List-Unsubscribe", b"List-Unsubscribe-Post"]
    assert re.fullmatch(rb"<https://mail\.acme\.example/u/[\w-]{50,120}>", fields[0][1])
    assert fields[1][1] == b"List-Unsubscribe=One-Click"


@pytest.mark.slow
def test_an_address_for_requests_stands_beside_the_link(engine: Engine, reach: Reach) -> None:
    engine.update_tenant_settings(TENANT, unsubscribe_mailto="unsubscribe@acme.example")
    sent = reach()
    assert re.fullmatch(
        rf"<{BASE}/u/[\w-]+>, <mailto:unsubscribe@acme\.example\?subject=unsubscribe>",
        str(sent.headers["List-Unsubscribe"]),
    )


@pytest.mark.slow
def test_a_template_has_the_link_for_its_body(reach: Reach) -> None:
    sent = reach(email("welcome", template=LINKED))
    assert f'<a href="{BASE}{sent.path}">' in sent.headers.get_content()


@pytest.mark.slow
def test_a_templates_own_headers_are_kept_but_for_those_two(reach: Reach) -> None:
    headers = {
        "X-Campaign": "spring",
        "list-unsubscribe": "<https://elsewhere.example>",
        "LIST-UNSUBSCRIBE-POST": "no",
    }
    template = {"subject": "Hello", "text": "Hello", "headers": headers}
    sent = reach(email("welcome", template=template))
    assert sent.headers["X-Campaign"] == "spring"
    assert sent.headers.get_all("List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    assert len(sent.headers.get_all("List-Unsubscribe", [])) == 1
    assert sent.path


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_retry_carries_the_same_bytes(
    engine: Engine, senders: Any, mail: MailServer, clock: Clock, open_worker: OpenWorker
) -> None:
    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)
    engine.author(email("welcome"))
    sam = engine.join()
    mail.refusals["sam@example.com"] = "451 4.3.0 Try again"
    async with open_worker() as worker:
        await worker.run_until_idle()
        first = engine.last(sam.id)
        mail.refusals.clear()
        clock.set(first.due_at)
        await worker.run_until_idle()
    second = engine.last(sam.id)
    assert second.payload == first.payload
    link = first.payload["headers"]["List-Unsubscribe"]
    assert f"List-Unsubscribe: {link}\r\n".encode() in mail.mails[0].content


def test_a_message_that_is_claimed_again_gets_the_same_link(engine: Engine, clock: Clock) -> None:
    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)
    engine.author(email("welcome"))
    engine.join()
    engine.tick()
    (first,) = engine.claim_renders(visibility=timedelta(0))
    clock.advance(minutes=5)
    (second,) = engine.claim_renders()
    assert first.unsubscribe == second.unsubscribe
    assert first.unsubscribe["url"] == BASE


@pytest.mark.parametrize(
    ("config", "carries"),
    [
        ({}, True),
        ({"kind": "marketing"}, True),
        ({"kind": "transactional"}, False),
        ({"unsubscribe": False}, False),
        ({"kind": "marketing", "unsubscribe": False}, False),
        ({"kind": "transactional", "unsubscribe": True}, True),
    ],
)
def test_marketing_carries_a_link_unless_the_step_says_otherwise(
    engine: Engine, config: dict[str, Any], carries: bool
) -> None:
    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)
    assert (claimed(engine, config=config) is not None) is carries


def test_other_channels_carry_no_link(engine: Engine) -> None:
    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)
    template = {"url": "https://example.com", "body": {}}
    assert claimed(engine, channel="webhook", template=template) is None


def test_without_an_address_nothing_carries_a_link(engine: Engine) -> None:
    assert claimed(engine) is None


def test_an_address_of_another_tenant_is_none_of_ours(engine: Engine) -> None:
    engine.update_tenant_settings("umbrella", unsubscribe_url=BASE)
    assert claimed(engine) is None


def test_a_tenants_address_comes_before_the_one_for_all(engine: Engine) -> None:
    engine.update_tenant_settings(None, unsubscribe_url=BASE, unsubscribe_mailto="all@acme.example")
    engine.update_tenant_settings(TENANT, unsubscribe_url="https://own.example/mail/")
    link = claimed(engine)
    assert (link["url"], link["mailto"]) == ("https://own.example/mail", "all@acme.example")


def test_an_empty_text_takes_an_address_away(engine: Engine) -> None:
    engine.update_tenant_settings(
        TENANT, unsubscribe_url=BASE, unsubscribe_mailto="unsubscribe@acme.example"
    )
    engine.update_tenant_settings(TENANT, unsubscribe_mailto="")
    settings = engine.update_tenant_settings(TENANT)
    assert (settings.unsubscribe_url, settings.unsubscribe_mailto) == (BASE, None)
    assert engine.update_tenant_settings(TENANT, unsubscribe_url="").unsubscribe_url is None


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.example",
        "acme.example",
        "https://",
        "https://acme.example/?a=b",
        "https://acme.example/#a",
        "https://me@acme.example",
        "https://acme.example/a b",
        "https://acme.example>\r\nBcc: eve@example.com",
        "https://acme.example/" + "a" * 200,
    ],
)
def test_what_is_no_https_address_is_refused(engine: Engine, url: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.update_tenant_settings(TENANT, unsubscribe_url=url)
    assert refusal.value.diag.column_name == "unsubscribe_url"


@pytest.mark.parametrize("mailto", ["acme.example", "a@b.example?cc=eve@example.com", "a@b>\n"])
def test_what_is_no_mail_address_is_refused(engine: Engine, mailto: str) -> None:
    with engine.refused(InvalidArgument) as refusal:
        engine.update_tenant_settings(TENANT, unsubscribe_mailto=mailto)
    assert refusal.value.diag.column_name == "unsubscribe_mailto"


@pytest.mark.parametrize("config", [{"kind": "spam"}, {"unsubscribe": "no"}, {"unsubscribe": 1}])
def test_a_setting_that_makes_no_sense_is_refused(engine: Engine, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        engine.author(email("welcome", config=config))
    assert "config." in str(refusal.value.diag.column_name)


@pytest.mark.slow
@pytest.mark.anyio
async def test_nothing_leaves_without_its_link_for_want_of_a_key_and_all_else_does(
    engine: Engine, senders: Any, mail: MailServer, open_worker: OpenWorker
) -> None:
    def no_key() -> Any:
        raise VaultError("no key")

    engine.update_tenant_settings(TENANT, unsubscribe_url=BASE)
    engine.author(email("welcome"))
    engine.apply(
        TENANT,
        {"key": "receipts", "name": "Receipts"}
        | {"steps": [email("receipt", config={"kind": "transactional"})]},
    )
    linked = [engine.join(name) for name in ("sam", "ada")]
    data = {"email": "eve@example.com"}
    receipt = engine.enroll(TENANT, "receipts", "User", "eve", data)
    async with open_worker(vault=no_key) as worker:
        with structlog.testing.capture_logs() as logs:
            await worker.run_until_idle()
    assert mail.mails == []
    assert {engine.last(each.id).state for each in linked} == {"queued"}
    assert engine.last(receipt.id).payload == {"subject": "Hello ", "text": "Hello "}
    told = [each for each in logs if each["event"] == "vault_error" and "hint" in each]
    assert [each["detail"] for each in told] == ["no key"]
    held = {row.message for row in engine.rows("select message from dripdrop.faults")}
    assert held == {"vault_error: no key"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, True),
        ({"config": {"kind": "transactional"}}, False),
        ({"config": {"unsubscribe": False}}, False),
        (
            {
                "template": {
                    "subject": "Hello",
                    "text": "Hello",
                    "headers": {"List-unsubscribe": "<https://elsewhere.example>"},
                }
            },
            False,
        ),
    ],
)
def test_startup_check_names_marketing_email_without_a_link(
    engine: Engine, fields: dict[str, Any], named: bool
) -> None:
    engine.author(email("welcome", **fields))
    problems = [row.problem for row in engine.startup_check()]
    assert problems == (["no_unsubscribe_url"] if named else [])


def test_startup_check_is_content_with_an_address_for_all_tenants(engine: Engine) -> None:
    engine.author()
    (problem,) = engine.startup_check()
    assert problem.detail == (
        "sequence onboarding (tenant acme) sends marketing messages over email without a link"
        " to unsubscribe"
    )
    engine.update_tenant_settings(None, unsubscribe_url=BASE)
    assert engine.startup_check() == []
