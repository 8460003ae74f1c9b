"""How much each benchmark does unless told otherwise: all of them in a quarter of an hour."""

from __future__ import annotations

ENROLLMENTS = 20_000
STEPS = 3
ENROLL_TURNS = 40
TICK_TURNS = 10
ASLEEP = 1_500_000
SENDERS = 1000
SEND_SECONDS = 1.0
SEND_TURNS = 5
HELD_SECONDS = 60.0
HELD_WINDOWS = 12
HELD_ENROLLMENTS = 30_000
PRUNE_ROWS = 1_000_000
PRUNE_SECONDS = 30.0
PRUNE_WINDOWS = 6
WAVES = 42
WAVE = 36_000
