"""Waves are sent whole, on a run too small to mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.bench import grow

pytestmark = pytest.mark.slow


def test_the_benchmark_sends_every_wave_and_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grow, "PROCESSES", 1)
    result = bench("grow", waves=3, size=60)
    assert (result["waves"], result["messages_per_wave"], result["messages"]) == (3, 60, 180)
    assert result["median_per_second"] > 0
    assert result["lowest_to_median"] == min(result["waves_to_median"])
    assert len(result["waves_to_median"]) == len(result["pgmq_to_median"]) == 3
