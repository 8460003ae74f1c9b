"""How many requests a server is given at a time: as many as it answers nearly as fast as fewer."""

from __future__ import annotations

import math

AT_ONCE = 20  # that many without a trial
MOST = 256
_WORTH = 1.5  # times as slow replies may become when twice as many are under way
_RETRY = (5.0, 900.0)  # seconds until twice as many are tried again: at first, and at most


class Window:
    """Doubles with each reply up to `at_once`, then by trials up to `most`.

    A trial doubles what may be under way. If replies become so slow that hardly more come per
    second, all is as before, and the next trial comes later. One is made, and judged, only while
    all places are taken: whoever has less to send needs no more. Times are the caller's.
    """

    def __init__(self, at_once: int = AT_ONCE, most: int = MOST) -> None:
        """Begin with one."""
        self.limit = 1
        self._at_once = at_once
        self._most = most
        self._is_full = False
        self._passing = 0  # replies to what left before the last change
        self._replies = 0
        self._seconds = 0.0
        self._before: tuple[int, float] | None = None  # a trial's beginning: limit, mean reply
        self._trial_at = -math.inf
        self._patience = _RETRY[0]

    def open(self) -> None:
        """Begin with as many as need no trial: there is no one server to be careful with."""
        self.limit = self._at_once

    def begun(self, under_way: int) -> None:
        """Hear that one more is under way."""
        self._is_full |= under_way >= self.limit

    def answered(self, seconds: float, now: float) -> None:
        """Hear how long a reply took; each round of replies decides."""
        if self.limit < self._at_once:
            self._change(min(self.limit * 2, self._at_once))
        elif self._passing:
            self._passing -= 1
        else:
            self._replies += 1
            self._seconds += seconds
            if self._replies >= self.limit:
                self._decide(self._seconds / self._replies, now)

    def too_many(self, now: float) -> None:
        """Hear that the server wants fewer: no more than without a trial, for a while."""
        if self.limit > self._at_once:
            self._give_up(self._at_once, now)

    def lost(self) -> None:
        """Hear that there was no reply: begin anew."""
        self._before = None
        self._change(1)

    def _decide(self, seconds: float, now: float) -> None:
        if not self._is_full:
            self._change(self.limit)
        elif self._before is not None and seconds > self._before[1] * _WORTH:
            self._give_up(self._before[0], now)
        elif self.limit < self._most and now >= self._trial_at:
            self._patience = _RETRY[0] if self._before is not None else self._patience
            self._before = (self.limit, seconds)
            self._change(min(self.limit * 2, self._most))
        else:
            self._before = None
            self._change(self.limit)

    def _give_up(self, limit: int, now: float) -> None:
        self._before = None
        self._trial_at = now + self._patience
        self._patience = min(self._patience * 2, _RETRY[1])
        self._change(limit)

    def _change(self, limit: int) -> None:
        self._passing = 0 if limit == self.limit else max(limit, self.limit)
        self.limit = limit
        self._replies = 0
        self._seconds = 0.0
        self._is_full = False
