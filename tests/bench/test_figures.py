"""The page's figures are what the benchmarks have printed."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from scripts.figures import PAGE, PLACE, figures


def numbers() -> defaultdict[str, Any]:
    """Return figures of which every one is 2."""
    return defaultdict(lambda: 2)


def result() -> dict[str, Any]:
    parts = ("pipeline", "pipeline_sql", "pipeline_logic", "pipeline_policies", "tick", "enroll")
    return {
        **{part: numbers() for part in (*parts, "send", "held", "prune", "grow")},
        "measured_at": "2026-03-02T09:00:00+00:00",
        "machine": defaultdict(str),
        "versions": {"psycopg": "3.3"},
        "settings": defaultdict(str),
    }


def test_the_page_has_a_place_for_them() -> None:
    assert len(PLACE.findall(PAGE.read_text())) == 1


def test_each_rate_stands_beside_its_anchor_with_their_ratio() -> None:
    measured = result()
    measured["pipeline_sql"] |= {"messages_per_second": 12_000, "pgmq_per_second": 48_000}
    lines = figures(measured, None).splitlines()
    assert "| pipeline, no rendering | 12 000/s | pgmq: 48 000/s | 0.25 |" in lines
    assert lines[1].startswith("Measured on 2026-03-02")


def test_other_queues_are_left_out_where_they_were_not_measured() -> None:
    assert "graphile" not in figures(result(), None)
    assert "| graphile-worker, flat: 2/s |" in figures(result(), numbers())
