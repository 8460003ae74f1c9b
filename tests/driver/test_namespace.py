"""What `import dripdrop` offers."""

from __future__ import annotations

import inspect

import dripdrop
from dripdrop import errors


def test_all_names_what_is_exported() -> None:
    exported = {
        name
        for name, value in vars(dripdrop).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert sorted(exported) == sorted(dripdrop.__all__)


def test_every_error_is_in_the_flat_namespace() -> None:
    assert set(dripdrop.__all__) >= {
        name for name, value in vars(errors).items() if inspect.isclass(value)
    }
