"""What the benchmarks send, to whom, and under which policies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

from dripdrop.client import Client

TEMPLATE = {
    "subject": "{{ name | capitalize }}, your {{ plan }} plan: step {{ step_key }}",
    "html": (
        "<html><body><h1>Welcome, {{ name }}!</h1>"
        "{% if plan == 'enterprise' %}<p>Your account manager will call you.</p>"
        "{% else %}<p>Upgrade whenever you like.</p>{% endif %}"
        "<ul>{% for feature in features %}<li>{{ feature }}</li>{% endfor %}</ul>"
        '<p><a href="https://app.example.com/setup?u={{ subscriber.id }}">Finish setup</a></p>'
        "</body></html>"
    ),
    "text": "Welcome, {{ name }}! Finish: https://app.example.com/setup?u={{ subscriber.id }}",
}
SINK = {"host": "localhost", "from": "Bench <bench@example.org>"}


def sequence(steps: int, *, logic: bool = False) -> dict[str, Any]:
    """Return a document whose steps are due at once, one after the other."""
    document: dict[str, Any] = {
        "key": "bench",
        "name": "Benchmark",
        "steps": [
            {"key": f"step_{number}", "channel": "email", "template": TEMPLATE}
            for number in range(1, steps + 1)
        ],
    }
    if logic:
        for number, step in enumerate(document["steps"], start=1):
            step |= _logic(number, steps)
        document["steps"].append(_SIDE_STEP)
        document["goals"] = [{"event": "bought"}]
        document["exit_when"] = [{"event": "unsubscribed"}]
    return document


_SIDE_STEP = {
    "key": "finished_chapter",
    "channel": "email",
    "template": TEMPLATE,
    "timing": {
        "type": "event",
        "trigger_event": "read_page",
        "match": {"last": True},
        "recurring": True,
    },
}


def _logic(number: int, steps: int) -> dict[str, Any]:
    """Return conditions that hold, and transitions of which the second is taken."""
    return {
        "conditions": [
            {"field_path": "plan", "operator": "in", "expected_value": ["starter", "enterprise"]},
            {"predicate": f'$.steps.step_{max(number - 1, 1)}.state != "failed"'},
        ],
        "transitions": [
            {
                "to": None,
                "conditions": [
                    {"field_path": "plan", "operator": "==", "expected_value": "cancelled"}
                ],
            },
            {
                "to": f"step_{number + 1}" if number < steps else None,
                "conditions": [{"predicate": '$.enrollment.features[*] == "alerts"'}],
            },
        ],
    }


def prepare(
    connection: psycopg.Connection[Any], document: dict[str, Any], *, policies: bool = False
) -> None:
    """Make the sender, and the sequence that everybody is enrolled in.

    With policies every message has to pass a window, suppressions and limits, and passes.
    """
    client = Client(connection)
    sink = client.create_channel_adapter(
        None, "sink", "email", "smtp", config=SINK, is_default=True
    )
    client.apply(None, document)
    if policies:
        _set_policies(client, sink.id)


def _set_policies(client: Client, sink: UUID) -> None:
    client.set_adapter_limits(
        None, sink, rate_limits={"adapter": "1000000/m"}, daily_cap=1_000_000_000
    )
    client.update_tenant_settings(None, send_window={"start": "00:00", "end": "24:00"})
    client.suppress_many(
        None,
        [{"channel": "email", "recipient": f"other{n}@example.org"} for n in range(10_000)],
    )


def enroll(connection: psycopg.Connection[Any], number: int, *, first: int = 0) -> None:
    """Enrol so many subscribers in bulk, counted from the first."""
    connection.execute(
        """
        select count(*)
        from generate_series(%(first)s, %(last)s, 5000) as chunk
        cross join lateral dripdrop.enroll_many(null, 'bench', (
          select jsonb_agg(jsonb_build_object(
            'subscriber_id', number::text,
            'data', jsonb_build_object(
              'email', 'user' || number || '@example.com',
              'name', 'user ' || number,
              'plan', case when number %% 3 = 0 then 'enterprise' else 'starter' end,
              'features', array['reports', 'alerts', 'exports']
            )
          ))
          from generate_series(chunk, least(chunk + 4999, %(last)s)) as number
        ))
        """,
        {"first": first, "last": first + number - 1},
    )
