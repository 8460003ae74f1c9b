"""Each channel and its anchor send to real servers, on runs too short to mean anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dripdrop.bench import send

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_one_object(
    bench: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "WARM_UP", 0.1)
    result = bench("send", seconds=0.1, turns=1)
    for kind in send.KINDS:
        for away in ("0ms", "30ms"):
            name = f"{kind}_{away}"
            assert result[f"{name}_per_second"] > 0
            assert result[f"{name}_bare_per_second"] > 0
            assert result[f"{name}_ratio_to_bare"] > 0
            assert result[f"{name}_places"] in range(2, 257)
