"""The benchmark measures what it says, on a run too small to mean anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dripdrop.bench import pipeline

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"enrollments": 40, "steps": 2, "json": True}
STAGES = {"claim_due", "leased_renders", "claim_rendered", "complete_sends"}


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes are tested once: each takes a second to start."""
    monkeypatch.setattr(pipeline, "PROCESSES", 1)


def test_the_benchmark_sends_every_message_and_prints_one_object(
    server_dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.main(server_dsn, mode="render", beside=None, **SMALL) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["mode"], result["messages"]) == ("render", 80)
    assert result["messages_per_second"] > 0
    assert result["pgmq_per_second"] > 0
    assert len(result["tenths_per_second"]) == 10
    assert result["stages_per_second"].keys() >= STAGES


def test_with_logic_it_tracks_events_and_compares_with_the_plain_sequence(
    server_dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    one_process: None,
) -> None:
    monkeypatch.setattr(pipeline, "MESSAGES_PER_EVENT", 0)
    assert pipeline.main(server_dsn, mode="sql", beside="logic", **SMALL) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["logic"] and result["events"] > 0
    assert result["messages"] >= 80
    plain = result["plain_messages_per_second"]
    assert result["logic_ratio"] == round(result["messages_per_second"] / plain, 2)


def test_with_policies_it_compares_with_the_plain_sequence(
    server_dsn: str, capsys: pytest.CaptureFixture[str], one_process: None
) -> None:
    assert pipeline.main(server_dsn, mode="sql", beside="policies", **SMALL) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["mode"], result["policies"], result["messages"]) == ("sql", True, 80)
    assert result["stages_per_second"].keys() >= {"tick", "claim_sends", "complete_sends"}
    plain = result["plain_messages_per_second"]
    assert result["policies_ratio"] == round(result["messages_per_second"] / plain, 2)
