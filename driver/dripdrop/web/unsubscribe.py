"""Where recipients unsubscribe: `/u/TOKEN`, the address in List-Unsubscribe (RFC 8058)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import structlog
from psycopg.errors import DeadlockDetected
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Message

from dripdrop.client import AsyncClient
from dripdrop.errors import ArgumentError, ExecutionNotFound, OtherVersion, TopicNotFound
from dripdrop.unsubscribe import InvalidToken, Ticket, Tokens
from dripdrop.web.database import Crowded, Database, is_passing
from dripdrop.web.pages import done_page, preferences_page

BODY_BYTES = 64 * 1024
"""How long the body of a request may be."""

_METHODS = ["GET", "HEAD", "POST", "OPTIONS"]
_BODY_SECONDS = 10
_ATTEMPTS = 3
_FIELDS = 1000


class Unsubscribe:
    """GET shows a page and changes nothing: mail scanners follow links. POST changes what it says.

    A token that does not open is not found, and so is one of the first form whose message is gone,
    and any other path.
    """

    def __init__(self, database: Database, tokens: Tokens) -> None:
        """Belong to an application."""
        self._database = database
        self._tokens = tokens
        self._log = structlog.get_logger("dripdrop")
        self.route = Route("/u/{token}", self.answer, methods=_METHODS)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": ", ".join(_METHODS)})
        try:
            ticket = self._tokens.read(request.path_params["token"])
        except InvalidToken:
            raise HTTPException(404) from None
        if request.method == "POST":
            return await self._change(ticket, await _form(request))
        page = await self._ask(lambda client: _page(client, ticket))
        return HTMLResponse(preferences_page(page))

    async def _change(self, ticket: Ticket, form: FormData) -> Response:
        whose = (ticket.tenant_key, ticket.execution_id)
        channel, recipient = ticket.channel, ticket.recipient
        change: Callable[[AsyncClient], Awaitable[Any]]
        if form.get("List-Unsubscribe") == "One-Click":
            what = "unsubscribed"

            def change(client: AsyncClient) -> Awaitable[Any]:
                return client.unsubscribe(
                    *whose, channel=channel, recipient=recipient, about=ticket.topic
                )

        elif form.get("action") == "everything":
            what = "unsubscribed"

            def change(client: AsyncClient) -> Awaitable[Any]:
                return client.unsubscribe(
                    *whose, source="page", everything=True, channel=channel, recipient=recipient
                )

        elif form.get("action") == "topics":
            what = "topics_changed"
            wanted = set(form.getlist("topic"))
            topics = {str(key): key in wanted for key in form.getlist("shown")}

            def change(client: AsyncClient) -> Awaitable[Any]:
                return client.update_subscriptions(
                    *whose, topics, channel=channel, recipient=recipient
                )

        else:
            raise HTTPException(400)

        async def changed(client: AsyncClient) -> Any:
            await change(client)
            return await _page(client, ticket)

        page = await self._ask(changed)
        self._log.info(what, execution=str(ticket.execution_id))
        return HTMLResponse(done_page(page))

    async def _ask(self, ask: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        """Ask the database, again after a deadlock. What it says in an error stays here."""
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.client() as client:
                    return await ask(client)
            except ExecutionNotFound:
                raise HTTPException(404) from None
            except (TopicNotFound, ArgumentError, psycopg.DataError):
                raise HTTPException(400) from None
            except OtherVersion:
                raise HTTPException(503, headers={"Retry-After": "60"}) from None
            except DeadlockDetected:
                if attempt < _ATTEMPTS - 1:
                    continue
                raise HTTPException(503, headers={"Retry-After": "10"}) from None
            except (psycopg.Error, Crowded, TimeoutError) as error:
                code, name = getattr(error, "sqlstate", None), type(error).__name__
                if is_passing(error):
                    self._log.warning("database_unavailable", error=name, code=code)
                    raise HTTPException(503, headers={"Retry-After": "10"}) from None
                self._log.error("database_error", error=name, code=code)
                raise HTTPException(500) from None


async def _page(client: AsyncClient, ticket: Ticket) -> Any:
    return await client.subscription_page(
        ticket.tenant_key,
        ticket.execution_id,
        channel=ticket.channel,
        recipient=ticket.recipient,
        about=ticket.topic,
    )


async def _form(request: Request) -> FormData:
    """Read a form, URL-encoded or multipart, that is neither long nor slow."""
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > BODY_BYTES:
            raise HTTPException(413)
        return message

    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await Request(request.scope, receive).form(max_files=0, max_fields=_FIELDS)
    except TimeoutError:
        raise HTTPException(408) from None
