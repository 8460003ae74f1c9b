"""Connection strings: understood once, for every command, and never repeated in an error."""

from __future__ import annotations

import difflib
import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dripdrop.redaction import without

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"[\w+.-]+://")
_SSL = re.compile(r"(?<=[?&])ssl=(?=[a-z-]+(?:&|$))")
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
_ENCODE = "In a URI, write @ / ? # % and : of a user name or password as %40 %2F %3F %23 %25 %3A."


class InvalidDsn(Exception):
    """A connection string that cannot be used. The text holds nothing of it."""

    def __init__(self, problem: str, hint: str = _ENCODE) -> None:
        """Say what is wrong, and what to do about it."""
        super().__init__(f"the connection string is malformed: {problem}")
        self.hint = hint


def understood(dsn: str) -> str:
    """Return a connection string as libpq takes it.

    SQLAlchemy's spelling (`postgresql+psycopg://…`, `?ssl=require`) is one more way to write it.

    Raises:
        InvalidDsn: it is malformed. What of it may belong to a password cannot be told, so the
            text repeats none of it.
    """
    dsn = dsn.strip()
    if "\0" in dsn:
        raise InvalidDsn("it holds a NUL character")
    scheme = _SCHEME.match(dsn)
    if scheme is not None:
        dsn = "postgresql://" + _SSL.sub("sslmode=", dsn[scheme.end() :])
        userinfo, at, _ = dsn[len("postgresql://") :].rpartition("@")
        if at and set(userinfo) & set("@/?"):
            raise InvalidDsn("there is a bare @, / or ? before its last @")
    elif _ANY_SCHEME.match(dsn):
        raise InvalidDsn("it is a URI, but not one of postgresql://")
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    except (psycopg.Error, ValueError) as error:
        raise InvalidDsn(_problem(str(error), scheme is not None)) from None
    for port in filter(None, given.get("port", "").split(",")):
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise InvalidDsn("a port is not a number from 1 to 65535")
    return dsn


def with_defaults(dsn: str, defaults: dict[str, str | int]) -> str:
    """Return a connection string with those of the options that it does not give itself."""
    given = conninfo_to_dict(dsn)
    return make_conninfo(dsn, **{key: v for key, v in defaults.items() if key not in given})


def redacted(text: str, dsn: str) -> str:
    """Return a text without the secrets of a connection string, however they are encoded."""
    given = conninfo_to_dict(dsn)
    return without(text, [str(given[name]) for name in _SECRETS if given.get(name)])


def _problem(said: str, is_uri: bool) -> str:
    """Return what is wrong in words of ours: libpq's repeat the place, which may be secret."""
    option = re.search(r'invalid (?:URI query parameter|connection option)[^"]*"(\w+)"', said)
    if option:
        known = [each.keyword.decode() for each in psycopg.pq.Conninfo.get_defaults()]
        close = difflib.get_close_matches(option[1], known, 1)
        meant = f"; there is {close[0]}" if close else ""
        return f"it has an option that libpq does not know{meant}"
    if "spaces" in said:
        return "it holds a blank, which a URI writes as %20"
    if "percent" in said:
        return "a % is not followed by two hexadecimal digits"
    if is_uri:
        return "it is no URI that libpq takes"
    return "it is neither a URI nor a list of option=value"
