"""What a benchmark prints: its result, where it was measured, and under which settings."""

from __future__ import annotations

import json as json_module
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from dripdrop.bench.scratch import server

SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "wal_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
    "jit",
)
"""The settings of a server that a rate depends on most."""

PACKAGES = ("dripdrop-postgres", "pgmq", "psycopg", "python-liquid")


def report(dsn: str | None, measure: Callable[[str], dict[str, Any]], *, json: bool) -> None:
    """Measure on a given server, or an embedded one; print what is found, and where."""
    with server(dsn) as on:
        result = measure(on)
        with psycopg.connect(on) as connection:
            result |= machine(connection)
    print_result(result, json=json)


def machine(connection: psycopg.Connection[Any] | None = None) -> dict[str, Any]:
    """Return when, on which machine, and under which settings of the server, where there is one.

    `{"measured_at": text, "machine": {"cpus": int, "cpu": str, "memory_gb": float, "system": str,
    "python": str}, "versions": {package: text}, "settings": {name: text}}`
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "cpu": _cpu(),
            "memory_gb": round(memory / 2**30, 1),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: version(name) for name in PACKAGES},
    }
    if connection is not None:
        rows = connection.execute(
            "select name, current_setting(name) from unnest(%s::text[]) as name", [list(SETTINGS)]
        ).fetchall()
        found["settings"] = dict(rows)
    return found


def print_result(result: dict[str, Any], *, json: bool) -> None:
    """Print one JSON object, or a line for each entry."""
    if json:
        print(json_module.dumps(result))
        return
    for name, entry in result.items():
        print(f"{name:32} {entry}")


def _cpu() -> str:
    """Return the name of the processor, as far as it is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
