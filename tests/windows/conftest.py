"""The engine for tests with many examples."""

from __future__ import annotations

from tests.timing.conftest import shared

__all__ = ["shared"]
