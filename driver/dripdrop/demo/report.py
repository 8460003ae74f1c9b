"""Whether everything came out as it should: what the database says, and what the servers got."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, LiteralString

from dripdrop.demo.app import App
from dripdrop.demo.servers import Endpoint, MailServer
from dripdrop.demo.story import (
    BOUNCING,
    DECLINED,
    EMAILS,
    PAUSED_AT,
    PAUSING,
    RESUMED_AT,
    UNSUBSCRIBING,
    WEBHOOKS,
    Tally,
    address,
    expected,
)

_STEPS: LiteralString = """
select
  s.key as step,
  s.channel,
  count(*) filter (where x.state = 'sent') as sent,
  count(*) filter (where x.state = 'skipped') as skipped,
  count(*) filter (where x.state = 'failed') as failed,
  count(x.id) filter (where x.ended_at is null) as to_come
from dripdrop.steps as s
left join dripdrop.step_executions as x on x.step_id = s.id
group by s.id
order by s.position
"""

_OUTCOMES: LiteralString = """
select s.key as step, x.state, e.data ->> 'email' as address
from dripdrop.step_executions as x
join dripdrop.steps as s on s.id = x.step_id
join dripdrop.enrollments as e on e.id = x.enrollment_id
"""

_DIGEST_WAIT: LiteralString = """
select max(x.ended_at) filter (where s.key = 'weekly_digest')
  - max(x.ended_at) filter (where s.key = 'setup_reminder') as wait
from dripdrop.step_executions as x
join dripdrop.steps as s on s.id = x.step_id
join dripdrop.enrollments as e on e.id = x.enrollment_id
where e.data ->> 'email' = %s
"""

_END: LiteralString = """
select e.state, e.exit_reason, p.reason as suppressed
from dripdrop.enrollments as e
left join dripdrop.suppressions as p
  on p.recipient_normalized = e.data ->> 'email' and p.channel = 'email'
where e.data ->> 'email' = %s
"""


async def steps(app: App) -> list[Any]:
    """Return per step: its key, its channel, how many were sent, skipped, failed, are to come."""
    return await _rows(app, _STEPS)


async def out_of_place(app: App) -> int:
    """Return how many rows the ledger finds out of place."""
    return len(await _rows(app, "select * from dripdrop.ledger"))


async def findings(
    app: App, mail: MailServer, endpoint: Endpoint, *, left_nothing: bool
) -> list[tuple[str, bool]]:
    """Return what should be so, each with whether it is.

    `left_nothing` says whether the sign-up that was rolled back did.
    """
    users = {row.id: row.email for row in await _rows(app, "select id::text, email from users")}
    posted = [(step, users.get(user, "")) for step, user in endpoint.accepted]
    [waited] = await _rows(app, _DIGEST_WAIT, address(PAUSING))
    bounced = await _rows(app, _END, address(BOUNCING))
    unsubscribed = await _rows(app, _END, address(UNSUBSCRIBING))
    left = await _rows(app, "select from dripdrop.enrollments where state in ('active', 'paused')")
    return [
        (
            "every step was sent, skipped and failed for exactly the right people",
            _tally(await _rows(app, _OUTCOMES)) == expected(),
        ),
        (
            "the mail server got every mail once, and no other",
            Counter(mail.delivered) == Counter(_sent(EMAILS)),
        ),
        (
            "the endpoint got every webhook once, and each was signed",
            Counter(posted) == Counter(_sent(WEBHOOKS)) and endpoint.refused == 0,
        ),
        (
            f"{DECLINED}'s sign-up left nothing",
            left_nothing and address(DECLINED) not in users.values(),
        ),
        (
            f"{PAUSING} waited six days for the digest, and the pause on top",
            waited.wait == timedelta(days=6) + (RESUMED_AT - PAUSED_AT),
        ),
        (
            f"{UNSUBSCRIBING} got no more mail, and still finished",
            unsubscribed == [("completed", "completed", "unsubscribe")],
        ),
        (
            f"{BOUNCING}'s address is suppressed and the enrolment cancelled",
            bounced == [("cancelled", "step_failed", "bounce")],
        ),
        ("every enrolment has ended", not left),
    ]


async def _rows(app: App, query: LiteralString, *values: str) -> list[Any]:
    return await (await app.connection.execute(query, values)).fetchall()


def _tally(rows: Iterable[Any]) -> Tally:
    tally: Tally = defaultdict(lambda: defaultdict(set))
    for row in rows:
        tally[row.step][row.state].add(row.address)
    return tally


def _sent(steps: Iterable[str]) -> list[tuple[str, str]]:
    return [(step, each) for step in steps for each in expected()[step]["sent"]]
