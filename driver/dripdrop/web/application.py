"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dripdrop.process.settings import resolve_dsn
from dripdrop.unsubscribe import Tokens
from dripdrop.vault import Vault
from dripdrop.web.database import Database
from dripdrop.web.pages import STYLE_HASH
from dripdrop.web.unsubscribe import Unsubscribe

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def app(
    dsn: str | None = None,
    *,
    vault: Callable[[], Vault] | None = None,
    clock: Callable[[], datetime] | None = None,
    on_other_version: Callable[[], None] | None = None,
) -> ASGIApp:
    """Return the application, for any ASGI server: `uvicorn --factory dripdrop.web:app`.

    Without a DSN the environment's counts, and without a vault `DRIPDROP_WEB_KEY`. `clock` replaces
    the database's clock, for demonstrations and tests. Once the schema is of another version, all
    requests are answered with 503, and `on_other_version` is called by each.

    Raises:
        MissingSetting: there is no DSN.
        VaultError: there is no usable key.
    """
    database = Database(resolve_dsn(dsn), clock, on_other_version)
    tokens = Tokens.from_environment() if vault is None else Tokens(vault())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with database:
            yield

    site = Starlette(
        routes=[Unsubscribe(database, tokens).route],
        exception_handlers={HTTPException: _plain},
        lifespan=lifespan,
    )
    site.router.redirect_slashes = False
    return _Guarded(site)


async def _plain(_: Request, error: Exception) -> Response:
    """Say no more than the status does."""
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


class _Guarded:
    """Sets the headers that keep a page to itself on every response."""

    def __init__(self, site: ASGIApp) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._site(scope, receive, guarded)
