"""The benchmark measures what it says, on a run too small to mean anything."""

from __future__ import annotations

import json

import pytest

from dripdrop import bench
from dripdrop.bench import Mode


@pytest.mark.parametrize("mode", ["render", "sql"])
def test_the_benchmark_sends_every_message_and_prints_one_object(
    server_dsn: str, capsys: pytest.CaptureFixture[str], mode: Mode
) -> None:
    assert bench.main(server_dsn, enrollments=40, steps=2, mode=mode, beside=None, json=True) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["mode"], result["messages"]) == (mode, 80)
    assert result["messages_per_second"] > 0
    assert result["pgmq_per_second"] > 0
    assert len(result["tenths_per_second"]) == 10
    stages = {"tick", "claim_renders", "complete_renders", "claim_sends", "complete_sends"}
    assert stages <= result["stages_per_second"].keys()


def test_with_logic_it_tracks_events_and_compares_with_the_plain_sequence(
    server_dsn: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "MESSAGES_PER_EVENT", 0)
    assert (
        bench.main(server_dsn, enrollments=40, steps=2, mode="sql", beside="logic", json=True) == 0
    )
    result = json.loads(capsys.readouterr().out)
    assert result["logic"] and result["events"] > 0
    assert result["messages"] >= 80
    plain = result["plain_messages_per_second"]
    assert result["logic_ratio"] == round(result["messages_per_second"] / plain, 2)


def test_with_policies_it_compares_with_the_plain_sequence(
    server_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = bench.main(server_dsn, enrollments=40, steps=2, mode="sql", beside="policies", json=True)
    result = json.loads(capsys.readouterr().out)
    assert code == 0 and result["policies"] and result["messages"] == 80
    plain = result["plain_messages_per_second"]
    assert result["policies_ratio"] == round(result["messages_per_second"] / plain, 2)
