"""`dripdrop bench all`: every benchmark at its usual size, one after the other, as one object.

Only the pipeline with logic and with policies is half as long: they take turns with the plain one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from dripdrop.bench import enroll, grow, held, pipeline, prune, send, tick
from dripdrop.bench.sizes import (
    ASLEEP,
    ENROLL_TURNS,
    ENROLLMENTS,
    HELD_ENROLLMENTS,
    HELD_SECONDS,
    HELD_WINDOWS,
    PRUNE_ROWS,
    PRUNE_SECONDS,
    PRUNE_WINDOWS,
    SEND_SECONDS,
    SEND_TURNS,
    SENDERS,
    STEPS,
    TICK_TURNS,
    WAVE,
    WAVES,
)

Measure: TypeAlias = Callable[[str], dict[str, Any]]


def _send(_: str) -> dict[str, Any]:
    return send.measure(seconds=SEND_SECONDS, turns=SEND_TURNS)


_pipeline = partial(pipeline.measure, enrollments=ENROLLMENTS, steps=STEPS)
_beside = partial(pipeline.measure, enrollments=ENROLLMENTS // 2, steps=STEPS, mode="render")

BENCHMARKS: dict[str, Measure] = {
    "pipeline": partial(_pipeline, mode="render"),
    "pipeline_sql": partial(_pipeline, mode="sql"),
    "pipeline_logic": partial(_beside, beside="logic"),
    "pipeline_policies": partial(_beside, beside="policies"),
    "tick": partial(tick.measure, turns=TICK_TURNS, asleep=ASLEEP, senders=SENDERS),
    "enroll": partial(enroll.measure, turns=ENROLL_TURNS),
    "send": _send,
    "held": partial(
        held.measure,
        seconds=HELD_SECONDS,
        windows=HELD_WINDOWS,
        enrollments=HELD_ENROLLMENTS,
        mode="sql",
    ),
    "prune": partial(
        prune.measure,
        rows=PRUNE_ROWS,
        seconds=PRUNE_SECONDS,
        windows=PRUNE_WINDOWS,
        enrollments=HELD_ENROLLMENTS,
        mode="sql",
    ),
    "grow": partial(grow.measure, waves=WAVES, size=WAVE, mode="sql"),
}


def measure(on: str) -> dict[str, Any]:
    """Measure all of it on databases of a server, and say on stderr what is being measured."""
    result = {}
    for name, benchmark in BENCHMARKS.items():
        print(name, file=sys.stderr)
        result[name] = benchmark(on)
    return result
