"""What a message costs is counted, and held against what was recorded."""

from __future__ import annotations

import json

import pytest

from scripts.bench_check import RECORD, count, exceeded


def test_what_costs_a_third_more_is_named() -> None:
    recorded = {"message": {"index_scans": 30.0, "wal_bytes": 3000.0}}
    assert exceeded({"message": {"index_scans": 40.0, "wal_bytes": 4000.0}}, recorded) == []
    assert exceeded({"message": {"index_scans": 40.1, "wal_bytes": 10.0}}, recorded) == [
        "message: index_scans"
    ]


@pytest.mark.slow
def test_what_is_counted_is_what_is_recorded(server_dsn: str) -> None:
    costs, recorded = count(server_dsn, 20), json.loads(RECORD.read_text())
    assert {work: counts.keys() for work, counts in costs.items()} == {
        work: counts.keys() for work, counts in recorded.items()
    }
    assert all(counted > 0 for counts in costs.values() for counted in counts.values())
