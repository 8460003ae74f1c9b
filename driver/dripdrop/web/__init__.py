"""What the outside world reaches over HTTP: where recipients unsubscribe (extra `web`)."""

from __future__ import annotations

from dripdrop.web.application import app

__all__ = ["app"]
