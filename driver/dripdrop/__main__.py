"""`python -m dripdrop` is the command `dripdrop`."""

from __future__ import annotations

from dripdrop.cli import main

main()
