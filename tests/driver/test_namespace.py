"""What `import dripdrop` offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import dripdrop
from dripdrop import errors


def test_all_that_is_named_is_exported() -> None:
    assert all(inspect.isclass(getattr(dripdrop, name)) for name in dripdrop.__all__)
    assert not hasattr(dripdrop, "Nothing")


def test_the_process_that_renders_loads_neither_a_database_driver_nor_cryptography() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import dripdrop.templates.child, sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "dripdrop.templates.child" in loaded
    assert not {"psycopg", "cryptography", "dripdrop.vault", "dripdrop.client"} & set(loaded)


def test_every_error_is_in_the_flat_namespace() -> None:
    assert set(dripdrop.__all__) >= {
        name for name, value in vars(errors).items() if inspect.isclass(value)
    }
