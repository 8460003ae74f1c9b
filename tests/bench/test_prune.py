"""Sending is measured while old rows are pruned, on a run too small to mean anything."""

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
    result = bench("prune", rows=400, seconds=1.5, windows=3, enrollments=1000)
    assert result["rows_pruned"] == result["rows"] == 400
    assert result["pruning_per_second"] > 0
    assert result["ratio_to_without"] > 0
    assert len(result["pruning_windows_per_second"]) == 3
