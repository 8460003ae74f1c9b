"""The version of the schema, which has to be the driver's."""

from __future__ import annotations

from importlib.metadata import version

import structlog

OTHER_VERSION = 3
"""The exit status of a process that is not of the schema's version: starting it again is no use."""


def is_version(installed: str) -> bool:
    """Whether the schema is of the driver's version; say so if it is not."""
    if installed == version("dripdrop-postgres"):
        return True
    structlog.get_logger("dripdrop").error(
        "version_mismatch",
        installed=installed,
        driver=version("dripdrop-postgres"),
        hint=(
            "dripdrop install brings the schema to the driver's version; or install version"
            f" {installed} of the package dripdrop-postgres, and start it again."
        ),
    )
    return False
