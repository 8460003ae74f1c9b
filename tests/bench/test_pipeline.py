"""The benchmark measures what it says, on a run too small to mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.bench import pgmq_loop, pipeline

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"enrollments": 40, "steps": 2}
STAGES = {"claim_due", "leased_renders", "claim_rendered", "complete_sends"}


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes are tested once, and one turn is enough: each takes a second to start."""
    monkeypatch.setattr(pipeline, "TURNS", 1)
    monkeypatch.setattr(pipeline, "PROCESSES", 1)
    monkeypatch.setattr(pgmq_loop, "PROCESSES", 1)


def test_the_benchmark_sends_every_message_and_prints_one_object(
    bench: Callable[..., dict[str, Any]],
) -> None:
    result = bench("pipeline", **SMALL)
    assert (result["mode"], result["messages"]) == ("render", 80)
    assert result["messages_per_second"] > 0
    assert result["pgmq_per_second"] > 0
    assert len(result["tenths_per_second"]) == 10
    assert result["stages_per_second"].keys() >= STAGES


def test_with_logic_it_tracks_events_and_compares_with_the_plain_sequence(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, one_process: None
) -> None:
    monkeypatch.setattr(pipeline, "MESSAGES_PER_EVENT", 0)
    result = bench("pipeline", mode="sql", logic=True, **SMALL)
    assert result["logic"] and result["events"] > 0
    assert result["messages"] >= 80
    plain = result["plain_messages_per_second"]
    assert result["logic_ratio"] == round(result["messages_per_second"] / plain, 2)


def test_with_policies_it_compares_with_the_plain_sequence(
    bench: Callable[..., dict[str, Any]], one_process: None
) -> None:
    result = bench("pipeline", mode="sql", policies=True, **SMALL)
    assert (result["mode"], result["policies"], result["messages"]) == ("sql", True, 80)
    assert result["stages_per_second"].keys() >= STAGES | {"complete_sends"}
    plain = result["plain_messages_per_second"]
    assert result["policies_ratio"] == round(result["messages_per_second"] / plain, 2)
