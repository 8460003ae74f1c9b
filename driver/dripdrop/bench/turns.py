"""Ways that are compared take turns: what slows the machine down slows down all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any, TypeAlias, TypeVar

Lot = TypeVar("Lot")
Seconds: TypeAlias = dict[str, list[float]]


def in_turns(turns: int, ways: Mapping[str, Callable[[Lot], Any]], lots: Iterator[Lot]) -> Seconds:
    """Return how long each way took in each turn, with a lot of its own.

    One turn before them warms up.
    """
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(turns + 1):
        for name, way in ways.items():
            lot = next(lots)
            began = time.perf_counter()
            way(lot)
            seconds[name].append(time.perf_counter() - began)
    return {name: each[1:] for name, each in seconds.items()}


def rates_of(name: str, size: int, seconds: Seconds) -> dict[str, Any]:
    """Return each way's rate in its median turn, and the first way's over each other one's."""
    medians = {way: median(each) for way, each in seconds.items()}
    return {
        **{f"{name}{way}_per_second": round(size / each) for way, each in medians.items()},
        **{
            f"{name}_ratio_to{way}": round(each / medians[""], 3)
            for way, each in medians.items()
            if way
        },
    }
