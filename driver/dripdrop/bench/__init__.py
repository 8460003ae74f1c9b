"""What the parts of the engine do in a second, one module per benchmark.

Each measures its anchor in the same run, something bare that does as little as possible of the same
kind: only a ratio means something on a machine that is shared.
"""

from __future__ import annotations
