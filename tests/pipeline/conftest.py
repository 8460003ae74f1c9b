"""The journey most tests send."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine import Engine


@pytest.fixture
def journey(engine: Engine) -> Engine:
    """The engine with a sequence to join: `welcome` at once, `tip` after three days."""
    engine.author()
    return engine


def pointers(engine: Engine, queue: str) -> list[Any]:
    """Return (execution, fence) of every message in a queue."""
    return engine.rows(f"""
        select (message ->> 'execution')::uuid as execution, (message ->> 'fence')::int as fence
        from pgmq.q_dripdrop_{queue}
        order by msg_id
    """)
