"""The SQL API as data: one declaration per function, with its parameters and what it returns.

The names, their order and their meaning are those of SQL, whose reference is `\\df+ dripdrop.*`. A
parameter that is left out is left out of the call, so that the default is SQL's.
"""
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

from psycopg import sql
from psycopg.types.json import Jsonb

Json: TypeAlias = Mapping[str, Any] | Sequence[Any]
"""A jsonb parameter: what `json.dumps` takes."""

One = TypeVar("One")
"""What a function that returns one row gives: the row, or None."""

Many = TypeVar("Many")
"""What a function that returns rows gives: a list."""

Value = TypeVar("Value")
"""What a function that returns one value gives."""

P = ParamSpec("P")
R = TypeVar("R")


def _statement(declaration: Callable[P, R]) -> Callable[P, R]:
    """Turn a declaration into a call of the SQL function of the same name.

    The annotations say the rest: `One`, `Many` or `Value` is returned, `Json` is sent as jsonb.
    """
    name = declaration.__name__
    signature = inspect.signature(declaration)
    shape = str(signature.return_annotation)
    documents = {p.name for p in signature.parameters.values() if "Json" in str(p.annotation)}

    @wraps(declaration)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        client, *_ = args
        given = dict(signature.bind(*args, **kwargs).arguments)
        del given["self"]
        query = sql.SQL("select * from dripdrop.{}({})").format(
            sql.Identifier(name),
            sql.SQL(", ").join(
                sql.SQL("{} => {}").format(sql.Identifier(key), sql.Placeholder(key))
                for key in given
            ),
        )
        values = {
            key: Jsonb(value) if key in documents and value is not None else value
            for key, value in given.items()
        }
        execute = getattr(client, f"_{shape.lower()}")
        return execute(query, values)  # type: ignore[no-any-return]

    return call


class Statements(ABC, Generic[One, Many, Value]):
    """The functions of the schema `dripdrop`, as methods of a client."""

    @abstractmethod
    def _one(self, query: sql.Composed, values: Mapping[str, Any]) -> One: ...

    @abstractmethod
    def _many(self, query: sql.Composed, values: Mapping[str, Any]) -> Many: ...

    @abstractmethod
    def _value(self, query: sql.Composed, values: Mapping[str, Any]) -> Value: ...

    @_statement
    def version(self) -> Value:
        """Return the installed version."""

    @_statement
    def check_schema(self) -> Many:
        """List what is missing or different in the schema."""

    @_statement
    def startup_check(self) -> Many:
        """List what keeps the engine from working."""
