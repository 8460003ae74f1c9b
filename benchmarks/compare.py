"""The pipeline beside graphile-worker and procrastinate, in turns, on one embedded server.

Each has two processes, renders the same small Liquid template for each message and sends it to
nothing; each message plans the next one, three for each person. The peers are measured once more
flat, with one message for each person and nothing to plan. A rate is the median turn's. Prints one
JSON object. `make bench-peers` installs what the peers need and calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from dripdrop.bench import pipeline
from dripdrop.bench.report import machine
from dripdrop.bench.scratch import scratch_database, server, value
from dripdrop.bench.workers import PROCESSES
from dripdrop.bench.workload import TEMPLATE
from dripdrop.templates import Renderer

HERE = Path(__file__).parent
PATIENCE = 180.0
"""Seconds after which a peer that has not finished is an error."""

PERSON = {
    "name": "user 1",
    "plan": "starter",
    "features": ["reports", "alerts", "exports"],
    "subscriber": {"id": "1"},
    "step_key": "step_1",
}


STEPS = 3


class Peer(NamedTuple):
    """A job queue: the script that fills it and works, and what it has left to do."""

    command: tuple[str, ...]
    messages: int
    left: str


PEERS = {
    "graphile_worker": Peer(
        ("node", str(HERE / "graphile_worker.mjs")),
        21_000,
        "select exists (select from graphile_worker._private_jobs)",
    ),
    "procrastinate": Peer(
        (str(HERE / ".venv/bin/python"), str(HERE / "procrastinate_worker.py")),
        3_000,
        "select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
    ),
}


def main() -> int:
    """Measure in turns, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3, help="how often each is measured")
    parser.add_argument("--messages", type=int, default=30_000, help="of the pipeline, in a turn")
    given = parser.parse_args()
    with server(None) as on:
        rates = measure(on, given.turns, given.messages)
        with psycopg.connect(on) as connection:
            where = machine(connection)
    ours = median(rates.pop("dripdrop"))
    print(
        json.dumps(
            {
                "turns": given.turns,
                "processes": PROCESSES,
                "dripdrop_per_second": round(ours),
                **{f"{name}_per_second": round(median(each)) for name, each in rates.items()},
                **{
                    f"ratio_to_{name}": round(ours / median(each), 2)
                    for name, each in rates.items()
                },
                **where,
                "peers": _pinned(),
            }
        )
    )
    return 0


def measure(on: str, turns: int, messages: int) -> dict[str, list[float]]:
    """Return the rate of each turn of ours and of each peer's."""
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for turn in range(turns):
        print(f"turn {turn + 1}", file=sys.stderr)
        with scratch_database(on) as database:
            sent = pipeline.run(database, messages // STEPS, STEPS, "render")
            rates["dripdrop"].append(sent["messages_per_second"])
        for name, peer in PEERS.items():
            for kind, steps in {"": STEPS, "_flat": 1}.items():
                with scratch_database(on) as database:
                    rates[f"{name}{kind}"].append(rate_of(database, peer, steps))
    return rates


def rate_of(dsn: str, peer: Peer, steps: int) -> float:
    """Return messages per second of a peer, so many to a person, for an empty database."""
    environment = _environment(dsn) | {"STEPS": str(steps)}
    filled = subprocess.run(
        [*peer.command, "fill", str(peer.messages // steps)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )
    if json.loads(filled.stdout) != rendered():
        raise RuntimeError(f"{peer.command[-1]} renders something else: {filled.stdout!r}")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("analyze")
        with _working(peer, environment) as workers:
            began = time.perf_counter()
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(b"\n")
                worker.stdin.flush()
            while value(connection, peer.left):
                if time.perf_counter() - began > PATIENCE or any(w.poll() for w in workers):
                    raise RuntimeError(f"{peer.command[-1]} does not come to its end")
                time.sleep(0.05)
            return peer.messages / (time.perf_counter() - began)


@contextmanager
def _working(peer: Peer, environment: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the peer's processes, ready to begin, and end them."""
    workers = [
        subprocess.Popen(
            [*peer.command, "work"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _environment(dsn: str) -> dict[str, str]:
    where = conninfo_to_dict(dsn)
    return {
        **os.environ,
        **{f"PG{name.upper()}": str(where[name]) for name in ("host", "user")},
        "PGDATABASE": str(where["dbname"]),
        "TEMPLATE": json.dumps(TEMPLATE),
        "PERSON": json.dumps(PERSON),
    }


def rendered() -> Any:
    """Return what each of them has to render for the person."""
    renderer = Renderer()
    renderer.learn("template", TEMPLATE)
    return renderer.render("template", PERSON)


def _pinned() -> dict[str, str]:
    """Return the versions of what the peers use."""
    requirements = (HERE / "requirements.txt").read_text().split()
    node = subprocess.run(["node", "--version"], capture_output=True, check=True, text=True)
    return {
        "node": node.stdout.strip().removeprefix("v"),
        **json.loads((HERE / "package.json").read_text())["dependencies"],
        **dict(each.split("==") for each in requirements),
    }


if __name__ == "__main__":
    sys.exit(main())
