"""How a worker goes about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from dripdrop.channels import ChannelSettings


@dataclass(frozen=True)
class Settings:
    """How a worker goes about it. Plain numbers are seconds or messages."""

    batch_size: int = 500
    interval: float = 1.0
    """How long a stage that found nothing waits before it looks again."""
    reconcile_interval: float = 60.0
    unknown_grace: timedelta = timedelta(minutes=15)
    patience: timedelta = timedelta(seconds=10)
    """How long a transaction may stay open that keeps messages waiting, until the log says so."""
    lease: timedelta = timedelta(minutes=2)
    in_flight: int = 1000
    """Messages per channel that are claimed and not yet recorded, at most."""
    in_flight_per_adapter: int | None = None
    """Messages being sent through one adapter, at most, where its channel has more places.

    It is also how many of that sender a worker that is killed leaves uncertain."""
    hooks_in_flight: int = 40
    """Executions whose hooks are being called, at most."""
    grace: float = 20.0
    """How long what is being sent may take once the worker was told to stop."""
    channels: ChannelSettings = field(default_factory=ChannelSettings.from_environment)
