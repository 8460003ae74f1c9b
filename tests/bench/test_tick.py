"""A tick is measured with work and without, on runs too small to mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.bench import tick

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, small in {"BATCH": 4, "LOT": 8, "CALLS": 2}.items():
        monkeypatch.setattr(tick, name, small)
    result = bench("tick", turns=1, asleep=10, senders=2)
    for name in ("plain", "policies"):
        for way in ("", "_update", "_leased"):
            assert result[f"{name}{way}_per_second"] > 0
        assert result[f"{name}_ratio_to_update"] > 0
    assert (result["asleep"], result["senders_with_a_line"]) == (10, 2)
    assert result["idle_ms"] > 0
    assert result["idle_look_ms"] > 0
