"""What the commands say when they cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dripdrop.cli.output import print_fault
from dripdrop.documents import DocumentError, UnreadableFile
from dripdrop.install import InstallError
from dripdrop.process import reporting
from dripdrop.process.reporting import report, stderr


@contextmanager
def reported() -> Iterator[None]:
    """Say on standard error what a user can put right, with its hint, and exit with status 1."""
    with reporting.reported():
        try:
            yield
        except DocumentError as error:
            for fault in error.faults:
                print_fault(fault, stderr)
            raise SystemExit(1) from None
        except (InstallError, UnreadableFile) as error:
            report(str(error))
