"""What all that leaves shares, whether a channel sends it or a hook asks for something."""

from __future__ import annotations
