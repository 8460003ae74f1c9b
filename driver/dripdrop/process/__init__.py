"""What all processes of ours share: their settings, their log, and how they end."""

from __future__ import annotations
