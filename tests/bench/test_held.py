"""Sending is measured with and without a snapshot held, on a run too small to mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.bench import beside

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "PROCESSES", 1)
    result = bench("held", seconds=1.5, windows=3, enrollments=1000)
    assert result["held_per_second"] > 0
    assert result["without_per_second"] > 0
    assert result["ratio_to_without"] > 0
    assert result["window_seconds"] == 0.5
    for name, number in {"before": 2, "held": 3, "after": 2}.items():
        assert len(result[f"{name}_windows_per_second"]) == number


def test_too_few_to_send_are_an_error(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "PROCESSES", 1)
    monkeypatch.setattr(beside, "STEPS", 1)
    with pytest.raises(RuntimeError, match="enrol more"):
        bench("held", seconds=0.6, windows=3, enrollments=1)
