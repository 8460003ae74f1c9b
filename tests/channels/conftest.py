"""Real servers on loopback: SMTP by aiosmtpd, HTTP by aiohttp, TLS with a certificate made here."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dripdrop.channels import Adapter, Channel, ChannelSettings, Handover, Message, open_channel

SENT_AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
EXECUTION = UUID("01957fd2-8a00-7000-8000-000000000001")
IDEMPOTENCY_KEY = "523db9b987969fc3e046da4a89420458f844dcf3b84dca07f4e66e2d376b5deb"

Open = Callable[..., Channel]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def message(
    payload: dict[str, Any],
    recipient: str | None = "ada@example.com",
    handover: Handover | None = None,
) -> Message:
    return Message(
        execution_id=EXECUTION,
        fence=1,
        idempotency_key=IDEMPOTENCY_KEY,
        tenant_key="acme",
        channel="email",
        recipient=recipient,
        payload=payload,
        sent_at=SENT_AT,
        handover=handover or Handover(),
    )


@pytest.fixture
async def open_(anyio_backend: str) -> AsyncIterator[Open]:
    """Open channels that may reach this machine, and close them after the test."""
    async with AsyncExitStack() as stack:

        def open_one(
            channel: str,
            provider: str,
            credentials: dict[str, Any],
            config: dict[str, Any] | None = None,
            settings: ChannelSettings | None = None,
        ) -> Channel:
            adapter = Adapter(
                EXECUTION, "acme", "mine", channel, provider, config or {}, credentials
            )
            settings = settings or ChannelSettings(allow_http=True, allow_private=True)
            opened = open_channel(adapter, settings)
            stack.push_async_callback(opened.aclose)
            return opened

        yield open_one


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return a server context for "localhost" whose certificate this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    authority = tmp_path / "certificate.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = tmp_path / "key.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return context


@dataclass
class MailServer:
    """A mail server that takes everything, or replies to one command as it was told to.

    A reply of None cuts the connection instead.
    """

    port: int = 0
    replies: dict[str, str | None] = field(default_factory=dict)
    accepted: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    transports: list[asyncio.BaseTransport] = field(default_factory=list)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.sessions.append(session)
        assert server.transport is not None
        self.transports.append(server.transport)
        return lines

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._reply("MAIL", server, "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = self._reply("RCPT", server, "250 OK")
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        reply = self._reply("CONTENT", server, "250 2.0.0 queued as 4711")
        if reply.startswith("250") or self.replies.get("CONTENT", "") is None:
            assert isinstance(envelope.original_content, bytes)
            self.accepted.append(envelope.original_content)
            self.recipients += envelope.rcpt_tos
        return reply

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"correct horse", handled=False)

    def _reply(self, command: str, server: SMTP, default: str) -> str:
        reply = self.replies.get(command, default)
        if reply is None:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "421 cut"
        return reply


class _Server(SMTP):
    async def smtp_DATA(self, arg: str) -> None:
        reply = self.event_handler.replies.get("DATA", "")
        if reply == "":
            await super().smtp_DATA(arg)
        elif reply is None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.abort()
        else:
            await self.push(reply)


MailServers = Callable[..., Awaitable[MailServer]]


@pytest.fixture
async def mail_server(anyio_backend: str) -> AsyncIterator[MailServers]:
    """Start mail servers: plain, with `starttls` or with `tls` from the first byte."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:

        async def start(
            starttls: ssl.SSLContext | None = None,
            tls: ssl.SSLContext | None = None,
            login: bool = False,
        ) -> MailServer:
            handler = MailServer()
            factory = partial(
                _Server,
                handler,
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=login,
                authenticator=handler.authenticate,
                loop=loop,
            )
            server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls)
            handler.port = server.sockets[0].getsockname()[1]

            def stop() -> None:
                server.close()
                for transport in handler.transports:
                    transport.close()

            stack.callback(stop)
            return handler

        yield start


@dataclass
class ScriptedServer:
    """Speaks SMTP line by line, as it was told to.

    `replies` holds what it says to a command, to nothing (GREETING) or to a message (CONTENT): a
    text, None to cut the connection, "" to say nothing any more. Of more than `most` connections
    at a time it refuses the others with `crowded`.
    """

    port: int = 0
    replies: dict[str, str | None] = field(default_factory=dict)
    most: int = 1000
    crowded: str = "421 4.7.0 too many connections"
    said: list[str] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list)
    connections: int = 0
    refused: int = 0
    under_way: int = 0
    at_once: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.under_way += 1
        self.at_once = max(self.at_once, self.under_way)
        try:
            if self.under_way > self.most:
                self.refused += 1
                writer.write(f"{self.crowded}\r\n".encode())
                return
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.under_way -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._reply(writer, "GREETING", "220 mx.example.com"):
            return
        while line := (await reader.readuntil(b"\n")).decode().strip():
            self.said.append(line)
            command = line.split()[0].upper()
            default = {"DATA": "354 go on", "QUIT": "221 bye"}.get(command, "250 ok")
            if not await self._reply(writer, command, default):
                return
            if command == "QUIT":
                return
            if command == "DATA" and self.replies.get("DATA", "354").startswith("354"):  # type: ignore[union-attr]
                content = await reader.readuntil(b"\r\n.\r\n")
                await self.hold.wait()
                self.accepted.append(content)
                if not await self._reply(writer, "CONTENT", "250 queued"):
                    return

    async def _reply(self, writer: asyncio.StreamWriter, command: str, default: str) -> bool:
        reply = self.replies.get(command, default)
        if reply == "":
            await asyncio.Event().wait()
        if reply is None:
            writer.transport.abort()
            return False
        writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        return not reply.startswith("421")


ScriptedServers = Callable[..., Awaitable[ScriptedServer]]


@pytest.fixture
async def scripted_server(anyio_backend: str) -> AsyncIterator[ScriptedServers]:
    """Start mail servers that say what they are told to."""
    async with AsyncExitStack() as stack:

        async def start(held: bool = False, **replies: str | None) -> ScriptedServer:
            script = ScriptedServer(replies=replies)
            if not held:
                script.hold.set()
            tasks: set[asyncio.Task[None]] = set()

            def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                script.writers.append(writer)
                task = asyncio.create_task(script.serve(reader, writer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            script.port = server.sockets[0].getsockname()[1]

            async def stop() -> None:
                server.close()
                for task in list(tasks):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                for writer in script.writers:
                    writer.transport.abort()
                await asyncio.sleep(0)

            stack.push_async_callback(stop)
            return script

        yield start


@dataclass
class HTTPServer:
    """An HTTP server that keeps each request and replies as it was told to.

    A status of None cuts the connection instead of replying; `silent` never replies.
    """

    url: str = ""
    status: int | None = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    silent: bool = False
    requests: list[tuple[web.Request, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request, await request.read()))
        if self.silent:
            await asyncio.Event().wait()
        if self.status is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if isinstance(self.body, str):
            return web.Response(status=self.status, headers=self.headers, text=self.body)
        return web.json_response(self.body or {}, status=self.status, headers=self.headers)


HTTPServers = Callable[..., Awaitable[HTTPServer]]


@pytest.fixture
async def http_server(anyio_backend: str) -> AsyncIterator[HTTPServers]:
    """Start HTTP servers, with TLS when given a context."""
    async with AsyncExitStack() as stack:

        async def start(tls: ssl.SSLContext | None = None) -> HTTPServer:
            server = HTTPServer()
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", server.handle)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
            server.url = f"{scheme}://{host}:{runner.addresses[0][1]}"
            return server

        yield start


@pytest.fixture
def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port
