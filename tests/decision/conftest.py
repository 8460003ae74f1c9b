"""A sender with limits, as the tests of limits have it."""

from __future__ import annotations

from tests.capacity.conftest import sender

__all__ = ["sender"]
