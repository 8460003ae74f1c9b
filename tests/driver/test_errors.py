"""The error classes are those of the catalogue, and psycopg raises them."""

from __future__ import annotations

import pickle
import re
from typing import Any

import psycopg
import pytest

from dripdrop import errors


def classes(parent: type[errors.DripdropError] = errors.DripdropError) -> list[Any]:
    return [found for child in parent.__subclasses__() for found in (child, *classes(child))]


def test_there_is_one_class_per_sqlstate(db: psycopg.Connection[Any]) -> None:
    listed = {
        (row.sqlstate, row.name)
        for row in db.execute("select sqlstate, name from dripdrop.errors()")
    }
    snake_case = re.compile(r"(?<!^)(?=[A-Z])")
    assert listed == {
        (error.sqlstate, snake_case.sub("_", error.__name__).lower())
        for error in classes()
        if error.sqlstate is not None
    }


def test_the_group_of_an_error_follows_from_its_code() -> None:
    groups = {
        "ZD1": errors.StateError,
        "ZD2": errors.ArgumentError,
        "ZD3": errors.RefusedError,
        "ZD4": errors.ClaimError,
    }
    for error in classes():
        if error.sqlstate is not None:
            assert issubclass(error, groups[error.sqlstate[:3]])


def test_the_errors_of_a_group_stand_in_the_order_of_their_codes() -> None:
    for group in errors.DripdropError.__subclasses__():
        codes = [error.sqlstate for error in classes(group)]
        assert codes == sorted(codes)


def test_the_tree_in_the_docstring_names_every_class_where_it_stands() -> None:
    assert [name for _, _, name in tree()] == [
        error.__name__ for error in (errors.DripdropError, *classes())
    ]


def test_each_branch_of_the_tree_has_one_last_twig() -> None:
    twigs = tree()
    for place, (indent, mark, name) in enumerate(twigs):
        after = [len(other) for other, *_ in twigs[place + 1 :] if len(other) <= len(indent)]
        assert (mark == "└") == (after[:1] != [len(indent)]), name


def tree() -> list[tuple[str, str, str]]:
    """Return the tree of the docstring: what stands before each class, its mark and its name."""
    return re.findall(r"^([│ ]*)([├└])── (\w+)", errors.__doc__ or "", re.MULTILINE)


def test_psycopg_raises_them_with_message_and_hint(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.SequenceNotFound, match='"nowhere"') as caught:
        db.execute("select dripdrop.enroll(null, 'nowhere', 'User', '1', '{}')")
    assert caught.value.diag.message_hint


def test_an_error_survives_pickling(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.SequenceNotFound) as caught:
        db.execute("select dripdrop.enroll(null, 'nowhere', 'User', '1', '{}')")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is errors.SequenceNotFound
    assert str(copy) == str(caught.value)
