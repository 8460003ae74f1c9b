"""The render stage: no message, however it is made, keeps the others from being rendered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import orjson
import pytest

from dripdrop import Vault
from dripdrop.daemon import Settings
from dripdrop.daemon.desk import Desk
from dripdrop.daemon.render import Render
from dripdrop.templates.process import Answer, Later, RenderProcess, Work
from tests.conftest import Clock
from tests.daemon.conftest import KEY, OpenWorker
from tests.daemon.servers import MailServer
from tests.engine import TENANT, Engine, email

pytestmark = pytest.mark.anyio

GREEDY = {
    "memory": "{% assign s = 'aaaaaaaaaa' %}{% for i in (1..12) %}{% assign s = s | append: s %}"
    "{% endfor %}{{ s | replace: 'a', s | size }}",
    "memory and time": "{{ (1..60000000) | sort | size }}",
    "time": (
        "{% for i in (1..99) %}{% for j in (1..99) %}"
        + "{% assign k = i | times: j %}" * 9
        + "{% endfor %}{% endfor %}"
    )
    * 99,
}


def mine(engine: Engine, template: dict[str, Any]) -> None:
    """Add a sequence of somebody else's making."""
    engine.apply(
        TENANT, {"key": "mine", "name": "Mine", "steps": [email("mine", template=template)]}
    )


def join_mine(engine: Engine, subscriber_id: str, **data: Any) -> Any:
    """Enrol a user in it."""
    data = {"email": f"{subscriber_id}@example.com"} | data
    return engine.enroll(TENANT, "mine", "User", subscriber_id, data)


@pytest.mark.slow
@pytest.mark.parametrize("source", GREEDY.values(), ids=GREEDY)
async def test_a_template_that_takes_too_much_fails_and_the_others_are_sent(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, source: str
) -> None:
    mine(mailing, {"subject": "Hi", "text": source})
    mailing.join("ann")
    poisoned = join_mine(mailing, "eve")
    mailing.join("bob")
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert {each.recipient for each in mail.mails} == {"ann@example.com", "bob@example.com"}
    failed = mailing.last(poisoned.id)
    assert failed.state == "failed"
    assert failed.reason in {"render_memory", "render_timeout"}
    assert "took more than" in failed.error_message
    assert mailing.ledger() == []


class Busy(RenderProcess):
    """Has no turn for anybody the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    async def render(self, works: Iterable[Work]) -> AsyncIterator[tuple[Work, Answer]]:
        """Render from the second time on."""
        self.calls += 1
        if self.calls == 1:
            for work in works:
                yield work, Later()
            return
        async for each in super().render(works):
            yield each


async def test_what_had_no_turn_is_rendered_next_and_not_when_its_lease_has_run_out(
    mailing: Engine, dsn: str, clock: Clock
) -> None:
    texts: list[str] = []

    async def hand_in(channel: str, results: Sequence[dict[str, Any]]) -> None:
        texts.extend(orjson.loads(orjson.dumps(result["payload"]))["text"] for result in results)

    for name in ("ann", "bob"):
        mailing.join(name, data={"email": f"{name}@example.com", "name": name})
    desk = Desk(dsn, 2, Settings(), lambda: Vault(KEY), lambda: clock.now)
    rendering = Busy()
    stage = Render(desk, rendering, hand_in)
    async with desk.database() as database:
        stage.take(await database.leased_renders((await database.claim_due()).leased))
    assert not await stage.step(), "nothing to do at once"
    assert await stage.step()
    await rendering.aclose()
    await desk.aclose()
    assert len(texts) == 2


@pytest.mark.slow
async def test_large_messages_are_handed_in_in_portions(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    mine(
        mailing,
        {
            "subject": "Hi",
            "text": "x" * 600 + "{% for i in (1..999) %}" + "x" * 600 + "{% endfor %}",
        },
    )
    for number in range(40):
        join_mine(mailing, f"user{number}")
    mailing.tick()
    async with open_worker() as worker:
        for stage in worker.stages:
            if stage.name == "render":
                await stage.step()
    (rendered,) = mailing.rows(
        "select count(*) as n, count(distinct xmin::text) as portions,"
        " min(length(payload ->> 'text')) as characters from dripdrop.step_executions"
        " where payload is not null"
    )
    assert (rendered.n, rendered.characters) == (40, 600_000)
    assert rendered.portions in {3, 4}, "24 MB in portions of 8"


@pytest.mark.slow
async def test_a_message_that_is_too_large_fails_with_its_size(
    mailing: Engine, open_worker: OpenWorker
) -> None:
    text = "{% for i in (1..6) %}" + "x" * 100_000 + "{% endfor %}"
    mine(mailing, {"subject": "Hi", "text": text, "html": text})
    poisoned = join_mine(mailing, "eve")
    async with open_worker() as worker:
        await worker.run_until_idle()
    failed = mailing.last(poisoned.id)
    assert (failed.state, failed.reason) == ("failed", "message_too_large")
    assert failed.error_message == "1200036 bytes, more than 1000000"


def refuse(engine: Engine, sqlstate: str) -> None:
    """Refuse every payload of eve's from now on."""
    engine.connection.execute(
        f"""
        create function public.refuse() returns trigger language plpgsql as $$
        begin
          if new.payload ->> 'text' like '%eve%' then
            raise exception 'no' using errcode = '{sqlstate}';
          end if;
          return new;
        end
        $$;
        create trigger refuse before update on dripdrop.step_executions
          for each row execute function public.refuse();
        """
    )


@pytest.mark.parametrize("sqlstate", ["22P05", "54000"])
async def test_a_message_that_cannot_be_stored_is_failed_and_the_others_are_sent(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, sqlstate: str
) -> None:
    refuse(mailing, sqlstate)
    for name in ("ann", "eve", "bob"):
        mailing.join(name, data={"email": f"{name}@example.com", "name": name})
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert {each.recipient for each in mail.mails} == {"ann@example.com", "bob@example.com"}
    (failed,) = mailing.rows("select * from dripdrop.step_executions where state <> 'sent'")
    assert (failed.state, failed.reason) == ("failed", "not_stored")
    assert failed.error_message == f"the database refuses the message ({sqlstate})"
    assert mailing.ledger() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "sqlstate", ["P0001", "53100", "23514", "XX000", "40001", "57P01", "57014", "ZD120", "25006"]
)
async def test_a_message_that_is_refused_for_another_reason_is_held_and_the_others_are_sent(
    mailing: Engine, mail: MailServer, clock: Clock, open_worker: OpenWorker, sqlstate: str
) -> None:
    refuse(mailing, sqlstate)
    for name in ("ann", "eve", "bob"):
        mailing.join(name, data={"email": f"{name}@example.com", "name": name})
    async with open_worker() as worker:
        await worker.run_until_idle()
        assert {each.recipient for each in mail.mails} == {"ann@example.com", "bob@example.com"}
        (fault,) = mailing.rows("select * from dripdrop.faults")
        assert (fault.stage, fault.sqlstate, fault.message) == ("render", sqlstate, "no")
        mailing.connection.execute("drop trigger refuse on dripdrop.step_executions")
        clock.advance(minutes=3)
        # The queue goes by the server's own clock.
        mailing.connection.execute("update pgmq.q_dripdrop_render set vt = clock_timestamp()")
        await worker.run_until_idle()
    assert mail.subjects("eve@example.com") == ["Hello eve"]
    assert mailing.ledger() == []


@pytest.mark.slow
async def test_headers_that_are_no_object_fail_their_message_alone(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker
) -> None:
    mailing.update_tenant_settings(TENANT, unsubscribe_url="https://mail.acme.example")
    mailing.join("ann")
    mine(mailing, {"subject": "Hi", "text": "Hi"})
    poisoned = join_mine(mailing, "eve")
    with mailing.unguarded():
        mailing.connection.execute(
            "update dripdrop.steps set template_content = template_content"
            " || '{\"headers\": \"none\"}' where key = 'mine'"
        )
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert [each.recipient for each in mail.mails] == ["ann@example.com"]
    assert mailing.last(poisoned.id).reason == "invalid_header"


UNREADABLE = {"a number beyond a double": "1e400"} | {
    f"a list {depth} deep": "[" * depth + "]" * depth for depth in (300, 1500)
}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["template_content", "data"])
@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_value_that_cannot_be_read_fails_those_that_have_it(
    mailing: Engine, mail: MailServer, open_worker: OpenWorker, place: str, value: str
) -> None:
    mine(mailing, {"subject": "Hi", "text": "Hi"})
    poisoned = [join_mine(mailing, "eve"), join_mine(mailing, "mallory")]
    mailing.join("ann")
    poison = f"set {place} = {place} || '{{\"n\": {value}}}'"
    with mailing.unguarded():
        if place == "data":
            mailing.rows(
                f"update dripdrop.enrollments {poison} where subscriber_id <> 'ann' returning 1"
            )
        else:
            mailing.rows(f"update dripdrop.steps {poison} where key = 'mine' returning 1")
    async with open_worker() as worker:
        await worker.run_until_idle()
    assert [each.recipient for each in mail.mails] == ["ann@example.com"]
    assert {mailing.last(each.id).reason for each in poisoned} <= {"unreadable", "not_json"}
