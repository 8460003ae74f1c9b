"""`/u/TOKEN` over HTTP: POST unsubscribes, GET shows, everything else does nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from html import unescape
from io import StringIO
from uuid import uuid4

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dripdrop import Vault
from dripdrop.process.log import logging_to
from dripdrop.unsubscribe import Ticket, Tokens
from dripdrop.vault import generate_key
from tests.conftest import Clock
from tests.daemon.conftest import KEY
from tests.engine import TENANT, Engine, after, email
from tests.web.conftest import Open, Reach

pytestmark = pytest.mark.slow

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def suppressed(engine: Engine) -> list[tuple[str, str | None]]:
    """Return the addresses that unsubscribed, each with the topic."""
    rows = engine.rows("select * from dripdrop.suppressions where reason = 'unsubscribe'")
    return [(row.recipient, row.topic) for row in rows]


@pytest.fixture
def path(engine: Engine) -> str:
    """The path in a message that was sent."""
    engine.author()
    engine.join()
    engine.deliver()
    (row,) = engine.rows("select id from dripdrop.step_executions where state = 'sent'")
    return path_of(engine, row.id)


def path_of(engine: Engine, execution_id: object, key: str = KEY) -> str:
    """Return the path that stands in a message."""
    (row,) = engine.rows(
        "select x.*, s.config ->> 'topic' as topic from dripdrop.step_executions as x"
        " join dripdrop.steps as s on s.id = x.step_id where x.id = %s",
        execution_id,
    )
    ticket = Ticket(row.tenant_key, row.id, row.channel, row.recipient, row.topic)
    return "/u/" + Tokens(Vault(key)).write(ticket)


@pytest.fixture
def topical(engine: Engine) -> str:
    """The path in a message about the topic news; there is a topic offers, too."""
    engine.create_topic(TENANT, "news", "News & more", "Once a <week>")
    engine.create_topic(TENANT, "offers", "Offers")
    engine.author(
        email("welcome", config={"topic": "news"}),
        email("tip", timing=after(3, "days"), config={"topic": "offers"}),
    )
    engine.join()
    engine.deliver()
    (row,) = engine.rows("select id from dripdrop.step_executions where state = 'sent'")
    return path_of(engine, row.id)


@pytest.mark.slow
def test_the_link_in_a_mail_that_arrived_unsubscribes(
    engine: Engine, reach: Reach, site: httpx.Client
) -> None:
    sent = reach(email("welcome"), email("tip", timing=after(3, "days")))
    post = str(sent.headers["List-Unsubscribe-Post"])
    answer = site.post(
        sent.path,
        content=post,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code == 200
    assert suppressed(engine) == [("sam@example.com", None)]
    assert engine.enrollment(sent.enrollment.id).exit_reason == "unsubscribed"


def test_a_multipart_form_unsubscribes_as_well(
    engine: Engine, site: httpx.Client, path: str
) -> None:
    answer = site.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    assert answer.request.headers["Content-Type"].startswith("multipart/form-data")
    assert answer.status_code == 200
    assert suppressed(engine) == [("sam@example.com", None)]


@pytest.mark.slow
def test_an_answer_sets_no_cookie_and_leads_nowhere(site: httpx.Client, path: str) -> None:
    for answer in (site.post(path, data=ONE_CLICK), site.get(path)):
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers


@pytest.mark.slow
def test_unsubscribing_twice_is_the_same_as_once(
    engine: Engine, site: httpx.Client, path: str, clock: Clock
) -> None:
    first = site.post(path, data=ONE_CLICK)
    before = engine.contents()
    clock.advance(hours=1)
    second = site.post(path, data=ONE_CLICK)
    assert (second.status_code, second.text) == (200, first.text)
    after_that = engine.contents()
    changed = {name for name in before if after_that[name] != before[name]}
    assert changed <= {"suppressions"}
    assert len(suppressed(engine)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_changes_nothing(
    engine: Engine, site: httpx.Client, topical: str, method: str
) -> None:
    before = engine.contents()
    assert site.request(method, topical).status_code in (200, 204)
    assert engine.contents() == before


@pytest.mark.slow
def test_a_page_has_a_button_that_unsubscribes(
    engine: Engine, site: httpx.Client, path: str
) -> None:
    page = site.get(path)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Send no more email to s…@example.com?" in page.text
    site.post(path, data=submitted(page.text, "Unsubscribe"))
    assert suppressed(engine) == [("sam@example.com", None)]
    assert "s…@example.com gets no more email." in site.get(path).text
    assert "<form" not in site.get(path).text


def submitted(page: str, button: str) -> dict[str, list[str]]:
    """Return what a browser sends when a button of a page is pressed."""
    (form,) = (
        form
        for form in re.findall(r'<form method="post">(.*?)</form>', page)
        if f">{button}</button>" in form
    )
    fields: dict[str, list[str]] = {}
    for tag in re.findall(r"<input [^>]*>|<button[^>]*>", form):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        unchecked = attributes.get("type") == "checkbox" and not tag.endswith(" checked>")
        if "name" in attributes and not unchecked:
            fields.setdefault(attributes["name"], []).append(unescape(attributes["value"]))
    return fields


def test_a_page_shows_the_topics_with_their_state(
    engine: Engine, site: httpx.Client, topical: str
) -> None:
    engine.set_subscription(TENANT, "User", "sam", "offers", "unsubscribed", "app")
    assert submitted(site.get(topical).text, "Save") == {
        "shown": ["news", "offers"],
        "topic": ["news"],
        "action": ["topics"],
    }


def test_what_a_tenant_writes_is_escaped(site: httpx.Client, topical: str) -> None:
    page = site.get(topical).text
    assert "News &amp; more" in page
    assert "Once a &lt;week&gt;" in page


def test_an_address_is_escaped(engine: Engine, site: httpx.Client) -> None:
    engine.author()
    engine.join(data={"email": "&sam@example.com"})
    engine.deliver()
    (row,) = engine.rows("select id from dripdrop.step_executions where state = 'sent'")
    assert "&amp;…@example.com" in site.get(path_of(engine, row.id)).text


@pytest.mark.slow
def test_one_click_on_a_topic_stops_that_topic_only(
    engine: Engine, site: httpx.Client, topical: str, clock: Clock
) -> None:
    assert site.post(topical, data=ONE_CLICK).status_code == 200
    assert suppressed(engine) == [("sam@example.com", "news")]
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "offers")
    clock.advance(days=3)
    assert len(engine.deliver()) == 1


def test_topics_are_changed_on_the_page(engine: Engine, site: httpx.Client, topical: str) -> None:
    form = submitted(site.get(topical).text, "Save")
    answer = site.post(topical, data=form | {"topic": ["offers"]})
    assert submitted(answer.text, "Save")["topic"] == ["offers"]
    states = {row.topic: row.state for row in engine.get_subscriptions(TENANT, "User", "sam")}
    assert states["news"] == "unsubscribed"
    assert engine.is_suppressed(TENANT, "email", "sam@example.com", "news")
    answer = site.post(topical, data=form)
    assert submitted(answer.text, "Save")["topic"] == ["news", "offers"]
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "news")


def test_everything_is_stopped_on_the_page(
    engine: Engine, site: httpx.Client, topical: str
) -> None:
    form = submitted(site.get(topical).text, "Unsubscribe from everything")
    assert "gets no more email" in site.post(topical, data=form).text
    assert suppressed(engine) == [("sam@example.com", None)]


def test_a_page_offers_no_topics_where_there_are_none(site: httpx.Client, path: str) -> None:
    page = site.get(path).text
    assert "checkbox" not in page
    assert page.count("<button") == 1


def test_a_page_can_be_used_by_everybody(site: httpx.Client, topical: str) -> None:
    page = site.get(topical).text
    assert '<html lang="en">' in page
    assert "<title>Unsubscribe</title>" in page
    assert page.count("<h1>") == 1
    assert "<fieldset><legend>" in page
    assert page.count("<label>") == page.count('type="checkbox"') == 2
    assert "<script" not in page


@pytest.mark.parametrize("form", [{}, {"List-Unsubscribe": "Two"}, {"action": "delete"}])
def test_a_post_that_says_something_else_is_refused(
    engine: Engine, site: httpx.Client, path: str, form: dict[str, str]
) -> None:
    before = engine.contents()
    assert site.post(path, data=form).status_code == 400
    assert engine.contents() == before


@pytest.mark.slow
@pytest.mark.parametrize("topic", ["weather", "\0"])
def test_a_topic_that_the_page_did_not_show_is_refused(
    engine: Engine, site: httpx.Client, topical: str, topic: str
) -> None:
    before = engine.contents()
    answer = site.post(topical, data={"action": "topics", "shown": ["news", topic]})
    assert answer.status_code == 400
    assert engine.contents() == before


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_not_allowed(
    engine: Engine, site: httpx.Client, path: str, method: str
) -> None:
    before = engine.contents()
    answer = site.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "OPTIONS"}
    assert engine.contents() == before


def test_options_says_what_there_is(site: httpx.Client, path: str) -> None:
    answer = site.options(path)
    assert (answer.status_code, answer.headers["Allow"]) == (204, "GET, HEAD, POST, OPTIONS")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("kind", ["nonsense", "foreign", "gone", "other tenant", "slash"])
def test_a_token_that_leads_nowhere_is_a_plain_404(
    engine: Engine, site: httpx.Client, path: str, method: str, kind: str
) -> None:
    (row,) = engine.rows("select * from dripdrop.step_executions where state = 'sent'")
    writing = Tokens(Vault(KEY))
    paths = {
        "nonsense": "/u/nonsense",
        "foreign": path_of(engine, row.id, generate_key()),
        "gone": "/u/" + writing.write(Ticket(TENANT, uuid4())),
        "other tenant": "/u/" + writing.write(Ticket("umbrella", row.id)),
        "slash": path + "/",
    }
    before = engine.contents()
    answer = site.request(method, paths[kind], data=ONE_CLICK if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == ("" if method == "HEAD" else "Not Found\n")
    assert engine.contents() == before


@pytest.mark.parametrize("where", ["/", "/u", "/u/", "/robots.txt", "/U/x", "/u/a/b"])
def test_there_is_nothing_else(site: httpx.Client, where: str) -> None:
    assert site.get(where).status_code == 404


def test_a_link_works_for_good(engine: Engine, site: httpx.Client, path: str, clock: Clock) -> None:
    clock.advance(days=30_000)
    assert site.get(path).status_code == 200
    assert site.post(path, data=ONE_CLICK).status_code == 200
    assert engine.is_suppressed(TENANT, "email", "sam@example.com")


def delete(engine: Engine, what: str) -> None:
    """Delete what a link leads to."""
    if what == "subscriber":
        engine.erase_subscriber(TENANT, "User", "sam")
        return
    for table in ("enrollments", "sequences")[: 1 if what == "enrollment" else 2]:
        engine.connection.execute(f"delete from dripdrop.{table}".encode())


@pytest.mark.parametrize("what", ["enrollment", "subscriber", "sequence"])
def test_a_link_works_whatever_was_deleted(
    engine: Engine, site: httpx.Client, path: str, what: str
) -> None:
    delete(engine, what)
    assert "@example.com" in site.get(path).text
    for _ in range(2):
        answer = site.post(path, data=ONE_CLICK)
        assert (answer.status_code, "@example.com" in answer.text) == (200, True)
    (suppression,) = engine.list_suppressions(TENANT)
    assert (suppression.recipient, suppression.reason) == ("sam@example.com", "unsubscribe")


@pytest.mark.parametrize("what", ["enrollment", "subscriber", "sequence"])
def test_a_link_whose_message_is_gone_is_still_about_its_topic(
    engine: Engine, site: httpx.Client, topical: str, what: str
) -> None:
    delete(engine, what)
    assert site.post(topical, data=ONE_CLICK).status_code == 200
    assert engine.is_suppressed(TENANT, "email", "sam@example.com", "news")
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com")
    back = site.post(topical, data={"action": "topics", "shown": ["news"], "topic": ["news"]})
    assert back.status_code == 200
    assert not engine.is_suppressed(TENANT, "email", "sam@example.com", "news")
    assert site.post(topical, data={"action": "everything"}).status_code == 200
    assert engine.is_suppressed(TENANT, "email", "sam@example.com")


def test_of_a_topic_that_is_gone_with_the_message_all_is_left(
    engine: Engine, site: httpx.Client, topical: str
) -> None:
    delete(engine, "sequence")
    engine.connection.execute("delete from dripdrop.topics")
    assert site.post(topical, data=ONE_CLICK).status_code == 200
    assert engine.is_suppressed(TENANT, "email", "sam@example.com")


def test_the_address_is_the_one_that_the_mail_went_to(
    engine: Engine, site: httpx.Client, path: str
) -> None:
    engine.connection.execute("update dripdrop.step_executions set recipient = 'new@example.com'")
    assert site.post(path, data=ONE_CLICK).status_code == 200
    assert engine.is_suppressed(TENANT, "email", "sam@example.com")
    assert not engine.is_suppressed(TENANT, "email", "new@example.com")


def test_a_link_from_before_a_key_was_rotated_works(open_site: Open, path: str) -> None:
    site = open_site(vault=lambda: Vault(generate_key(), [KEY]))
    assert site.get(path).status_code == 200


@pytest.mark.parametrize("status", [200, 204, 400, 404, 405])
def test_every_answer_keeps_to_itself(site: httpx.Client, path: str, status: int) -> None:
    answer = {
        200: lambda: site.get(path),
        204: lambda: site.options(path),
        400: lambda: site.post(path),
        404: lambda: site.get("/u/x"),
        405: lambda: site.delete(path),
    }[status]()
    assert answer.status_code == status
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Server" not in answer.headers


def chunks() -> Iterator[bytes]:
    """Yield a body that says at no time how long it is."""
    yield b"List-Unsubscribe=One-Click&a="
    for _ in range(70):
        yield b"a" * 1024


@pytest.mark.parametrize("content", [lambda: b"a=" + b"a" * 65_535, chunks])
def test_a_body_beyond_64_kib_is_refused(
    engine: Engine, site: httpx.Client, path: str, content: Callable[[], bytes | Iterator[bytes]]
) -> None:
    answer = site.post(
        path, content=content(), headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413
    assert suppressed(engine) == []


def test_a_body_of_64_kib_is_taken(engine: Engine, site: httpx.Client, path: str) -> None:
    body = b"List-Unsubscribe=One-Click&a="
    body += b"a" * (64 * 1024 - len(body))
    answer = site.post(
        path, content=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 200


def test_a_file_in_a_form_is_refused(site: httpx.Client, path: str) -> None:
    assert site.post(path, files={"List-Unsubscribe": ("a.txt", b"One-Click")}).status_code == 400


def test_a_body_that_never_comes_is_given_up(
    site: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dripdrop.web.unsubscribe._BODY_SECONDS", 0.1)
    with socket.create_connection((site.base_url.host, site.base_url.port or 0), 20) as line:
        line.sendall(
            f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\nList-".encode()
        )
        assert line.recv(100).startswith(b"HTTP/1.1 408 ")


@contextmanager
def logged() -> Iterator[StringIO]:
    """Collect what is logged."""
    stream = StringIO()
    with logging_to(stream):
        yield stream


@pytest.mark.slow
def test_no_log_holds_a_token_or_an_address(open_site: Open, dsn: str, path: str) -> None:
    with logged() as stream:
        site = open_site()
        site.post(path, data=ONE_CLICK)
        site.get(path)
        site.get(path + "a")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "alter table dripdrop.suppressions"
                " add constraint none check (source = '') not valid"
            )
        assert site.post(path, data=ONE_CLICK).status_code == 500
    log = stream.getvalue()
    assert '"event": "unsubscribed"' in log
    assert '"code": "23514"' in log
    assert path[3:20] not in log
    assert "example.com" not in log


def test_a_database_that_is_away_is_a_503(
    dsn: str, open_site: Open, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dripdrop.web.database._SECONDS", 0.2)
    with logged() as stream:
        site = open_site(make_conninfo(dsn, dbname="nowhere"))
        answer = site.post(path, data=ONE_CLICK)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert "database_unavailable" in stream.getvalue()


@pytest.mark.slow
def test_the_role_for_the_web_is_enough(
    engine: Engine, dsn: str, open_site: Open, topical: str
) -> None:
    name = sql.Identifier(f"{engine.connection.info.dbname}_web")
    engine.connection.execute(
        sql.SQL("create role {} login password 'secret' in role dripdrop_web").format(name)
    )
    try:
        site = open_site(make_conninfo(dsn, user=name.as_string().strip('"'), password="secret"))
        form = submitted(site.get(topical).text, "Save")
        assert site.post(topical, data=form | {"topic": []}).status_code == 200
        assert site.post(topical, data=form).status_code == 200
        assert site.post(topical, data=ONE_CLICK).status_code == 200
        assert suppressed(engine) == [("sam@example.com", "news")]
    finally:
        engine.connection.execute(
            sql.SQL(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = {}"
            ).format(sql.Literal(name.as_string().strip('"')))
        )
        engine.connection.execute(sql.SQL("drop role {}").format(name))


@pytest.mark.slow
def test_more_requests_than_may_wait_are_told_to_come_again(
    engine: Engine, open_site: Open, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dripdrop.web.database._CONNECTIONS", 1)
    monkeypatch.setattr("dripdrop.web.database._WAITING", 1)
    site = open_site()
    with ThreadPoolExecutor(6) as pool:
        with engine.connection.transaction():
            engine.connection.execute("lock table dripdrop.enrollments")
            posts = [pool.submit(site.post, path, data=ONE_CLICK, timeout=20) for _ in range(6)]
            refused = []
            for post in as_completed(posts, 20):
                refused.append(post.result().status_code)
                if len(refused) == 4:
                    break
        assert refused == [503] * 4
        assert sorted(post.result(20).status_code for post in posts)[:2] == [200, 200]
