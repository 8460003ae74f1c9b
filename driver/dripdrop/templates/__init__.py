"""Templates: Liquid in, payloads out."""

from __future__ import annotations

from dripdrop.templates.liquid import Renderer, RenderError

__all__ = ["RenderError", "Renderer"]
