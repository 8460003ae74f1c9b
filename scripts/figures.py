"""Put figures into docs/performance.md: what `dripdrop bench all --json` has printed.

`python -m scripts.figures ALL.json [PEERS.json]`; the second has what `make bench-peers` printed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scripts.sources import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLACE = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
CHANNELS = {"webhook": "a webhook", "postmark": "Postmark", "smtp": "SMTP, 8 connections"}


class Row(NamedTuple):
    """What was measured, how fast it was, what it is compared with, and the ratio."""

    work: str
    here: str
    anchor: str
    ratio: float | str


def main(paths: list[str]) -> int:
    """Rewrite the figures in the page."""
    result, *peers = (json.loads(Path(path).read_text()) for path in paths)
    text = figures(result, peers[0] if peers else None)
    PAGE.write_text(PLACE.sub(lambda found: f"{found[1]}{text}{found[2]}", PAGE.read_text()))
    return 0


def figures(result: dict[str, Any], peers: dict[str, Any] | None) -> str:
    """Return where it was measured, and the table."""
    rows = [*_sending(result), *_deciding(result["tick"]), *_enrolling(result["enroll"])]
    rows += [
        *_channels(result["send"]),
        *_long(result),
        *(_peers(peers) if peers is not None else ()),
    ]
    table = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(
        [
            "",
            _where(result),
            "",
            "| work | here | anchor | ratio |",
            "|---|---|---|---|",
            *table,
            "",
            "",
        ]
    )


def _where(result: dict[str, Any]) -> str:
    machine, settings = result["machine"], result["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    switches = ", ".join(
        f"{name} {settings[name]}" for name in ("fsync", "synchronous_commit", "shared_buffers")
    )
    return (
        f"Measured on {result['measured_at'][:10]}: {machine['cpus']} processors "
        f"({machine['cpu']}), {machine['memory_gb']} GB,\n"
        f"Postgres {settings['server_version']}, {switches},\n"
        f"Python {machine['python']}, {versions}."
    )


def _count(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def _rate(number: float) -> str:
    return f"{_count(number)}/s"


def _against(work: str, anchor: str, found: dict[str, Any], ours: str, other: str) -> Row:
    """Return a row of two rates."""
    return Row(
        work,
        _rate(found[ours]),
        f"{anchor}: {_rate(found[other])}",
        f"{found[ours] / found[other]:.2f}",
    )


def _sending(result: dict[str, Any]) -> Iterator[Row]:
    for name, work in {
        "pipeline": "pipeline, with Liquid",
        "pipeline_sql": "pipeline, no rendering",
    }.items():
        yield _against(work, "pgmq", result[name], "messages_per_second", "pgmq_per_second")
    for name in ("logic", "policies"):
        found = result[f"pipeline_{name}"]
        ours, plain = "messages_per_second", "plain_messages_per_second"
        yield _against(f"pipeline with {name}, with Liquid", "plain", found, ours, plain)


def _deciding(found: dict[str, Any]) -> Iterator[Row]:
    for kind, work in {"plain": "tick", "policies": "tick with policies"}.items():
        ours, bare = f"{kind}_per_second", f"{kind}_update_per_second"
        yield _against(work, "bare update", found, ours, bare)
    asleep, lines = _count(found["asleep"]), _count(found["senders_with_a_line"])
    yield Row(
        f"idle tick, {asleep} asleep, {lines} lines",
        f"{found['idle_ms']:.2f} ms",
        f"a look into the index: {found['idle_look_ms']:.2f} ms",
        "",
    )


def _enrolling(found: dict[str, Any]) -> Iterator[Row]:
    for name, work in {"single": "one `enroll()`", "clients": "`enroll()`, 8 clients"}.items():
        for anchor, what in {"row": "its row", "rows": "both rows"}.items():
            ours, bare = f"{name}_per_second", f"{name}_{anchor}_per_second"
            yield _against(work, f"insert of {what}", found, ours, bare)
    for name, work in {"bulk": "`enroll_many()`", "busy": "the same beside two workers"}.items():
        ours, bare = f"{name}_per_second", f"{name}_rows_per_second"
        yield _against(work, "bulk insert", found, ours, bare)


def _channels(found: dict[str, Any]) -> Iterator[Row]:
    for kind, work in CHANNELS.items():
        for away, where in {"0ms": "at once", "30ms": "30 ms away"}.items():
            name = f"{kind}_{away}"
            ours, bare = f"{name}_per_second", f"{name}_bare_per_second"
            yield _against(f"{work}, {where}", "bare client", found, ours, bare)


def _long(result: dict[str, Any]) -> Iterator[Row]:
    held, grow = result["held"], result["grow"]
    ours, without = "held_per_second", "without_per_second"
    work = f"a snapshot held for {held['seconds']:.0f} s"
    yield _against(work, "without it", held, ours, without)
    yield Row(work, "last third of it", "first third", held["last_third_to_first"])
    prune = result["prune"]
    work = f"{prune['rows_pruned']} rows pruned meanwhile"
    yield _against(work, "without it", prune, "pruning_per_second", "without_per_second")
    median = f"median: {_rate(grow['median_per_second'])}"
    yield Row(
        f"{_count(grow['messages'])} messages in waves",
        "slowest wave",
        median,
        grow["lowest_to_median"],
    )


def _peers(found: dict[str, Any]) -> Iterator[Row]:
    for peer in ("graphile_worker", "procrastinate"):
        for kind, what in {"": "", "_flat": ", flat"}.items():
            ours, other = "dripdrop_per_second", f"{peer}{kind}_per_second"
            name = f"{peer.replace('_', '-')}{what}"
            yield _against("pipeline, with Liquid", name, found, ours, other)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
