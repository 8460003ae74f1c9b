"""The version of the schema, which has to be the driver's."""

from __future__ import annotations

import re
from importlib.metadata import version

import structlog

OTHER_VERSION = 3
"""The exit status of a process that is not of the schema's version: starting it again is no use."""


def is_version(installed: str) -> bool:
    """Whether the schema is of the driver's version; say so if it is not."""
    if installed == version("dripdrop-postgres"):
        return True
    ours = version("dripdrop-postgres")
    structlog.get_logger("dripdrop").error(
        "version_mismatch", installed=installed, driver=ours, hint=what_to_do(installed, ours)
    )
    return False


def what_to_do(installed: str, driver: str) -> str:
    """Say how a schema and a driver become of one version: what is older is upgraded."""
    package = f"version {installed} of the package dripdrop-postgres, and start it again."
    if _numbers(installed) > _numbers(driver):
        return f"Install {package}"
    return (
        "Upgrade the database the way it was installed: dripdrop install, sqitch deploy, or"
        f" alter extension dripdrop update; or install {package}"
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
