"""procrastinate: `fill` defers jobs for as many people in batches, and prints what is sent first.

`work` waits for a line on stdin and works until it is ended. Each message defers the next one, as
many as STEPS says. The server is where PGHOST, PGUSER and PGDATABASE say; TEMPLATE and PERSON are
JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

import liquid
import procrastinate

logging.getLogger("procrastinate").setLevel(logging.ERROR)
environment = liquid.Environment()
template = {
    name: environment.from_string(text) for name, text in json.loads(os.environ["TEMPLATE"]).items()
}
steps = int(os.environ["STEPS"])
person = json.loads(os.environ["PERSON"])
app = procrastinate.App(connector=procrastinate.PsycopgConnector())


def render(variables: dict[str, Any]) -> dict[str, str]:
    """Return what the person is sent."""
    return {name: parsed.render(**variables) for name, parsed in template.items()}


async def _send(**variables: Any) -> None:
    """Render, send to nothing, and defer the next message."""
    render(variables)
    if variables["step"] < steps:
        await send.defer_async(**variables | {"step": variables["step"] + 1})


send = app.task(_send, name="send")


async def fill(number: int) -> None:
    """Defer a job for each person."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for at in range(0, number, 5000):
            people = (
                person | {"email": f"user{n}@example.com", "step": 1}
                for n in range(at, min(at + 5000, number))
            )
            await send.batch_defer_async(*people)
    print(json.dumps(render(person)))


async def work() -> None:
    """Take jobs until this process is ended."""
    async with app.open_async():
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await app.run_worker_async(concurrency=20, fetch_job_polling_interval=0.1)


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[2])) if sys.argv[1] == "fill" else work())
