"""One SMTP connection: opened in stages that can be told apart, each within a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Any, Literal, TypeAlias

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponse, SMTPResponseException, SMTPServerDisconnected

from dripdrop.channels.base import Adapter, ChannelSettings, InvalidAdapter
from dripdrop.channels.smtp_wire import Wire

Stage = Literal["session", "login", "sender", "recipient", "content"]
_Command: TypeAlias = tuple[Stage, bytes, set[int]]
"""What a refusal is said of, what is written, and which replies go on."""

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_NOT_IMPLEMENTED = {500, 502}  # RFC 5321 section 3.2: HELO instead
_FULL_NAME = re.compile(r"(?!localhost)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})+")
_RESOLVING = 5.0  # seconds that finding this machine's name may take
_GOODBYE = 2.0
_REUSE = 10.0  # seconds for the first answer on a connection that may be gone
_ONE_BY_ONE = 900.0  # seconds without PIPELINING for a server that did not keep step
_CLOSING = 421
_GO_ON = 354


class Refused(Exception):
    """The server said no."""

    def __init__(self, stage: str, code: int, text: str) -> None:
        """Take where it did, its code and its words."""
        super().__init__(text)
        self.stage = stage
        self.code = code
        self.text = text


class Away(Exception):
    """There is no talking to the server; with kind `auth_error`, because of the account.

    `stage` says where, once a message was being handed over.
    """

    def __init__(
        self, code: str, detail: str, kind: Literal["unreachable", "auth_error"] = "unreachable"
    ) -> None:
        """Take a stable code and what is known."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.kind = kind
        self.stage: Stage | None = None


@dataclass
class Account:
    """Where to connect, how, and as whom."""

    host: str
    port: int
    security: str
    username: str | None
    password: str
    helo: str | None
    timeout: float
    one_by_one_until: float = field(default=-math.inf, init=False)
    """Until when, in the loop's time, no commands go together: the server did not keep step."""
    _tls: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    @classmethod
    def read(cls, adapter: Adapter, settings: ChannelSettings) -> Account:
        """Read an adapter. Raises `InvalidAdapter`, also when a login would leave without TLS."""
        option = adapter.option
        security = str(option("security") or "starttls")
        if security not in _PORTS:
            raise InvalidAdapter(
                f'adapter "{adapter.name}": security must be starttls, tls or none'
            )
        try:
            port = int(option("port") or _PORTS[security])
        except (TypeError, ValueError):
            raise InvalidAdapter(f'adapter "{adapter.name}": port is no number') from None
        if not 0 < port < 65536:
            raise InvalidAdapter(f'adapter "{adapter.name}": port must be from 1 to 65535')
        username = str(option("username")) if option("username") else None
        if username is not None and security == "none" and option("allow_plain") is not True:
            raise InvalidAdapter(
                f'adapter "{adapter.name}": the login would leave without TLS;'
                " security must be starttls or tls, or allow_plain true"
            )
        return cls(
            host=str(option("host")),
            port=port,
            security=security,
            username=username,
            password=str(option("password") or ""),
            helo=str(option("helo")) if option("helo") else None,
            timeout=settings.timeout,
        )

    async def open(self) -> Session:
        """Return a connection that is ready for mail. Raises `Refused` or `Away`."""
        session = Session(self)
        try:
            async with session.within(self.timeout):
                await session.greet()
                if self.security == "starttls":
                    await session.start_tls()
                if self.username is not None:
                    await session.login(self.username, self.password)
                session.begin_mail()
        except BaseException:
            session.close()
            raise
        return session

    async def tls(self) -> ssl.SSLContext | None:
        """Return what verifies the server, made once: it takes a while."""
        if self._tls is None and self.security != "none":
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    async def own_name(self) -> str | None:
        """Return the name for EHLO, None where this machine has no full one."""
        if self.helo is None:
            name = ""
            with contextlib.suppress(TimeoutError, OSError, UnicodeError):
                name = await asyncio.wait_for(asyncio.to_thread(socket.getfqdn), _RESOLVING)
            self.helo = name if _FULL_NAME.fullmatch(name) else ""
        return self.helo or None


class Session:
    """One connection. Every call raises `Refused` or `Away`, within the account's timeout."""

    def __init__(self, account: Account) -> None:
        """Prepare without connecting."""
        self._account = account
        self._smtp = aiosmtplib.SMTP()
        self._wire: Wire | None = None
        self.stage: Stage = "session"
        self.reused = False
        self.idle_since = 0.0
        self._pipelining = False
        self._clean = True

    @property
    def is_connected(self) -> bool:
        """Whether it seems to be open, and the server has said nothing that was not asked."""
        return self._wire is not None and self._wire.is_usable

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Bound what is done, and tell a refusal from a server that is away."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except SMTPResponseException as error:
            refusal = 400 <= error.code < 600 or (self.stage == "login" and error.code >= 0)
            if not refusal:
                raise Away("invalid_reply", error.message) from None
            raise Refused(self.stage, error.code, error.message) from None
        except TimeoutError:
            raise Away("timeout", f"no answer within {seconds:g} seconds ({self.stage})") from None
        except SMTPServerDisconnected as error:
            raise Away("connection_lost", str(error)) from None
        except (SMTPException, OSError) as error:
            raise Away("connect_error", str(error) or type(error).__name__) from None
        except (ValueError, LookupError, TypeError, RuntimeError) as error:
            # Not a word of the server: a name that cannot be encoded, a challenge that is none.
            code = "login_failed" if self.stage == "login" else "invalid_adapter"
            raise Away(code, f"{type(error).__name__} ({self.stage})", "auth_error") from None

    async def greet(self) -> None:
        """Connect, and say who is there."""
        account = self._account
        context = await account.tls()
        name = await account.own_name()
        self._smtp = aiosmtplib.SMTP(
            hostname=account.host,
            port=account.port,
            use_tls=account.security == "tls",
            start_tls=False,
            tls_context=context,
            timeout=account.timeout,
            local_hostname=name or "unnamed",
        )
        await self._smtp.connect()
        self._name = name or _literal(self._smtp.get_transport_info("sockname"))
        await self._hello()

    async def start_tls(self) -> None:
        """Go on encrypted, or not at all."""
        if not self._smtp.supports_extension("starttls"):
            raise Away("starttls_not_offered", "the server does not offer STARTTLS")
        await self._smtp.starttls(tls_context=await self._account.tls())
        await self._hello()

    async def login(self, username: str, password: str) -> None:
        """Log in with what both sides know."""
        self.stage = "login"
        if not self._smtp.supports_extension("auth"):
            raise Away("login_not_offered", "the server does not offer AUTH", "auth_error")
        try:
            await self._smtp.login(username, password)
        except SMTPResponseException:
            raise
        except (SMTPServerDisconnected, OSError):
            raise
        except SMTPException as error:
            raise Away("login_not_offered", error.message, "auth_error") from None

    def begin_mail(self) -> None:
        """Go on with messages: from here on several commands may be under way at a time."""
        self.stage = "session"
        self._pipelining = self._smtp.supports_extension("pipelining")
        self._wire = Wire(self._smtp)

    async def announce(self, sender: str, recipient: str) -> None:
        """Name sender and recipient and say DATA; what follows on this connection is content.

        In one go where the server offers PIPELINING (RFC 2920). A connection that may be gone has
        less time for its first answer.
        """
        commands: list[_Command] = [
            ("sender", f"MAIL FROM:<{sender}>".encode("ascii"), {250}),
            ("recipient", f"RCPT TO:<{recipient}>".encode("ascii"), {250, 251}),
            ("content", b"DATA", {_GO_ON}),
        ]
        if not self._clean:
            commands.insert(0, ("sender", b"RSET", {250}))
        self._clean = False
        together = self._pipelining and _now() >= self._account.one_by_one_until
        seconds = min(self._account.timeout, _REUSE) if self.reused else self._account.timeout
        for number, (stage, command, expected) in enumerate(commands):
            self.stage = stage
            try:
                async with self.within(seconds):
                    if not together:
                        self._write(command + b"\r\n")
                    elif number == 0:
                        self._write(b"".join(line + b"\r\n" for _, line, _ in commands))
                    reply = await self._reply()
                    if reply.code not in expected:
                        raise SMTPResponseException(reply.code, reply.message)
            except Refused as error:
                if together and error.code != _CLOSING:
                    await self._withdraw(stage, [line for _, line, _ in commands[number + 1 :]])
                raise
            except Away:
                # What offers it may yet lose what comes together: a firewall, an old server.
                if together and number:
                    self._account.one_by_one_until = _now() + _ONE_BY_ONE
                raise
            seconds = self._account.timeout

    def check(self) -> None:
        """Raise `Away` if the connection is lost, or if the server says more than it was asked."""
        if not self.is_connected:
            lost = self._wire is None or self._wire.is_lost
            code = "connection_lost" if lost else "invalid_reply"
            raise Away(code, "Connection lost" if lost else "a reply that nothing asked for")

    async def content(self, content: bytes) -> SMTPResponse:
        """Write the content and return the reply, whatever it is.

        The library's `data()` raises the same errors before and after the content has left. Only
        after may the server have taken the message, so the last two steps are done by hand.
        """
        async with self.within(self._account.timeout):
            self._write(_dot_stuffed(content))
            reply = await self._reply()
        self._clean = True
        self.stage = "session"
        return reply

    async def quit(self) -> None:
        """Say goodbye and close."""
        try:
            with contextlib.suppress(Refused, Away):
                async with self.within(_GOODBYE):
                    self._write(b"QUIT\r\n")
                    await self._reply()
        finally:
            self.close()

    def close(self) -> None:
        """Close at once."""
        self._smtp.close()

    async def _hello(self) -> None:
        try:
            await self._smtp.ehlo(hostname=self._name)
        except SMTPResponseException as error:
            if error.code not in _NOT_IMPLEMENTED:
                raise
            await self._smtp.helo(hostname=self._name)

    def _write(self, data: bytes) -> None:
        if self._wire is None:
            raise SMTPServerDisconnected("Connection lost")
        self._wire.write(data)

    async def _reply(self) -> SMTPResponse:
        if self._wire is None:
            raise SMTPServerDisconnected("Connection lost")
        return await self._wire.reply()

    async def _withdraw(self, refused: Stage, rest: list[bytes]) -> None:
        """Take the replies to what was written behind a command that was refused.

        A server that wants content for nobody gets none, which is a single dot (RFC 2920 section
        3.1). Where it took the recipient and not the sender, an empty mail could arrive: then, and
        where it does not keep step, nothing more is said on this connection.
        """
        nobody = refused == "recipient"
        try:
            async with self.within(_GOODBYE):
                for command in rest:
                    reply = await self._reply()
                    no = 400 <= reply.code < 600
                    if command.startswith(b"RCPT"):
                        nobody = no
                    elif command == b"DATA" and reply.code == _GO_ON and nobody:
                        self._write(b".\r\n")
                        await self._reply()
                    elif command == b"DATA" and not no:
                        self.close()
        except (Refused, Away):
            self.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _literal(address: Any) -> str:
    """Return the address of this end as EHLO says it (RFC 5321 section 4.1.3)."""
    ip = ip_address(str(address[0]).partition("%")[0])
    return f"[IPv6:{ip}]" if isinstance(ip, IPv6Address) else f"[{ip}]"


_stuffed = partial(re.compile(rb"(?m)^\.").sub, b"..")


def _dot_stuffed(content: bytes) -> bytes:
    """Return the content with its terminator, transparent (RFC 5321 section 4.5.2)."""
    return _stuffed(content) + b".\r\n"
