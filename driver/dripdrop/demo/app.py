"""A pretend SaaS, and all it has to do with DripDrop: a few calls in transactions of its own."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import psycopg

from dripdrop.client import AsyncClient
from dripdrop.demo.story import address, plan
from dripdrop.vault import Vault, to_text

SEQUENCE = "saas_onboarding"


class Counts(NamedTuple):
    """How many rows there are of what a sign-up writes."""

    users: int
    enrolments: int
    messages: int


class App:
    """Users sign up, take a break, unsubscribe. `connection` is in autocommit mode."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Use a connection to the database that holds the users and DripDrop."""
        self.connection = connection
        self.dripdrop = AsyncClient(connection)

    async def create(self, vault: Vault, secret: str, smtp_port: int, webhook_url: str) -> None:
        """Make the senders, the table of users and the sequence."""
        await self.dripdrop.create_channel_adapter(
            tenant_key=None,
            name="mail",
            channel="email",
            provider="smtp",
            config={
                "host": "127.0.0.1",
                "port": smtp_port,
                "security": "none",
                "from": "Acorn <hello@acorn.example>",
            },
            is_default=True,
        )
        await self.dripdrop.create_channel_adapter(
            tenant_key=None,
            name="app",
            channel="webhook",
            provider="default",
            credentials=to_text(vault.seal({"secret": secret}, tenant_key=None, name="app")),
            config={"url": webhook_url},
            is_default=True,
        )
        script = files("dripdrop.demo").joinpath("saas_onboarding.sql")
        await self.connection.execute(script.read_bytes())

    async def sign_up(self, name: str) -> None:
        """Insert a user and enrol them, both or neither."""
        async with self.connection.transaction():
            cursor = await self.connection.execute(
                "insert into users (name, email, plan) values (%s, %s, %s) returning id",
                [name, address(name), plan(name)],
            )
            user = await cursor.fetchone()
            assert user is not None
            await self.dripdrop.enroll(
                tenant_key=None,
                sequence=SEQUENCE,
                subscriber_type="User",
                subscriber_id=str(user.id),
                data={"name": name, "email": address(name), "plan": plan(name)},
            )

    async def pause(self, name: str) -> None:
        """Hold a user's onboarding."""
        await self.dripdrop.pause_enrollment(None, await self._enrollment_id(name))

    async def resume(self, name: str) -> None:
        """Let a user's onboarding go on."""
        await self.dripdrop.resume_enrollment(None, await self._enrollment_id(name))

    async def unsubscribe(self, name: str) -> None:
        """Send no more mail to a user's address, whatever the sequence."""
        await self.dripdrop.suppress(
            None, "email", address(name), reason="unsubscribe", source="demo"
        )

    async def counts(self) -> Counts:
        """Count what sign-ups have written, as this connection's transaction sees it."""
        cursor = await self.connection.execute(
            "select (select count(*) from users) as users,"
            " (select count(*) from dripdrop.enrollments) as enrolments,"
            " (select count(*) from dripdrop.step_executions) as messages"
        )
        row = await cursor.fetchone()
        assert row is not None
        return Counts(*row)

    async def _enrollment_id(self, name: str) -> Any:
        cursor = await self.connection.execute("select id::text from users where name = %s", [name])
        user = await cursor.fetchone()
        assert user is not None
        enrollment = await self.dripdrop.get_enrollment(None, SEQUENCE, "User", user.id)
        return enrollment.id
