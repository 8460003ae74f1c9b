"""The daemon: what is due is ticked, rendered, sent and recorded. It decides nothing.

It holds no state that matters: kill it at any instruction and nothing is lost. Any number may run.
"""

from __future__ import annotations

from dripdrop.daemon.settings import Settings
from dripdrop.daemon.worker import Worker

__all__ = ["Settings", "Worker"]
