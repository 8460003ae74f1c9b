"""Templates: Liquid in, payloads out."""

from __future__ import annotations

from dripdrop.templates.liquid import REQUEST, Renderer, RenderError

__all__ = ["REQUEST", "RenderError", "Renderer"]
