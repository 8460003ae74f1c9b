"""A database for the functions that hardly write: one for the whole module."""

from __future__ import annotations

from tests.timing.conftest import shared

__all__ = ["shared"]
