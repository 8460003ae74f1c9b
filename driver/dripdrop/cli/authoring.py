"""Commands that take sequences from files into a database, and say what is wrong with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from dripdrop.cli.database import AsJson, Dsn, Tenant
from dripdrop.cli.output import print_fault, print_json, print_table, say
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.documents import Document, DocumentError, Fault, UnreadableFile, read
from dripdrop.errors import (
    DripdropError,
    InvalidDefinition,
    InvalidTenantKey,
    InvalidVersion,
    SequenceNotFound,
    VersionNotFound,
)
from dripdrop.process.reporting import stderr
from dripdrop.process.settings import resolve_dsn
from dripdrop.templates.liquid import template_faults

File: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="YAML or JSON, one sequence per document; - is standard input.", metavar="FILE"
    ),
]

_LONG = 60
"""How much of a value a table shows."""


def plan(file: File, tenant: Tenant = None, dsn: Dsn = None, json: AsJson = False) -> None:
    """Show what apply would change; status 0 if nothing, 2 if something, 1 if it cannot."""
    documents = _sound(file)
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        plans = [(each.key, _planned(client, tenant, each)) for each in documents]
        _warn(documents, client, tenant)
    for key, changes in plans:
        if json:
            for row in changes:
                print_json({"sequence": key, **row._asdict()})
        elif changes:
            _print_changes(changes, key if len(documents) > 1 else None)
        else:
            say(f"sequence {key}: nothing to change")
    if any(changes for _, changes in plans):
        raise typer.Exit(2)


def apply(file: File, tenant: Tenant = None, dsn: Dsn = None, json: AsJson = False) -> None:
    """Create or update the sequences of a file, all or none of them."""
    documents = _sound(file)
    done = []
    with connect(resolve_dsn(dsn)) as connection:
        client = Client(connection)
        for each in documents:
            changes = _planned(client, tenant, each)
            done.append((each.key, changes, _applied(client, tenant, each)))
        _warn(documents, client, tenant)
    for key, changes, version in done:
        if json:
            listed = [row._asdict() for row in changes]
            state = {"version": version.version, "state": version.state}
            print_json({"sequence": key, **state, "changes": listed})
            continue
        if changes:
            _print_changes(changes, key if len(documents) > 1 else None)
        news = "" if changes else "nothing to change, "
        force = "in force" if version.state == "active" else f"{version.state}, not in force"
        say(f"sequence {key}: {news}version {version.version} is {force}")


def schema(
    kind: Annotated[
        str, typer.Argument(help="A kind of document: sequence, step, hook, email.smtp, ….")
    ] = "sequence",
    dsn: Dsn = None,
) -> None:
    """Print a JSON Schema of documents, for editors that check and complete while one writes."""
    with connect(resolve_dsn(dsn)) as connection:
        print(json.dumps(Client(connection).json_schema(kind), indent=2, ensure_ascii=False))


def validate(
    file: Annotated[
        str | None,
        typer.Argument(help="YAML or JSON; - is standard input.", metavar="FILE"),
    ] = None,
    sequence: Annotated[
        str | None, typer.Option(help="Look at a stored sequence instead of a file.", metavar="KEY")
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(help="With --sequence: its version; else the active one, else the latest."),
    ] = None,
    tenant: Tenant = None,
    dsn: Annotated[
        str | None,
        typer.Option(
            help="Ask the database too, and leave nothing in it. A file is checked without one "
            "unless it is given here; --sequence takes it from the environment as well.",
            metavar="DSN",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """List what is wrong with the sequences of a file, or with a stored one; status 1 if anything.

    Without a database: the file's syntax and its Liquid templates.
    """
    if (file is None) == (sequence is None):
        raise typer.BadParameter("give a FILE, or --sequence KEY")
    if sequence is not None:
        _validate_stored(resolve_dsn(dsn), tenant, sequence, version, json)
        return
    assert file is not None
    documents, faults = _read(file), []
    for each in documents:
        faults += each.template_faults()
    if dsn:
        with connect(dsn) as connection:
            client = Client(connection)
            for each in documents:
                faults += _problems(client, tenant, each)
            _warn(documents, client, tenant)
    else:
        _warn(documents)
    for fault in sorted(faults, key=lambda each: each.place):
        if json:
            print_json(_as_record(fault))
        else:
            print_fault(fault)
    if faults:
        raise typer.Exit(1)
    if not json:
        keys = ", ".join(each.key for each in documents)
        say(f"nothing wrong with {keys}")
        for each in documents:
            if variables := each.variables_of_data():
                text = f"{each.key} takes from the data: {', '.join(variables)}"
                stderr.out(text, highlight=False)


def _validate_stored(
    dsn: str, tenant: str | None, key: str, number: int | None, as_json: bool
) -> None:
    with connect(dsn) as connection:
        client = Client(connection)
        version = _stored_version(client, tenant, key, number)
        problems = [
            (row.problem, row.step_key, row.detail)
            for row in client.validate_sequence_version(tenant, version.id)
        ]
        problems += [
            ("invalid_template", step.key, _words(fault))
            for step in client.list_steps(tenant, version.id)
            for fault in template_faults(step.template_content)
        ]
    columns = ("problem", "step_key", "detail")
    if as_json:
        for problem in problems:
            where = {"sequence": key, "version": version.version}
            print_json({**where, **dict(zip(columns, problem, strict=True))})
    elif problems:
        print_table(columns, problems)
    else:
        say(f"nothing wrong with {key}, version {version.version}")
    if problems:
        raise typer.Exit(1)


def _stored_version(client: Client, tenant: str | None, key: str, number: int | None) -> Any:
    sequence = client.get_sequence(tenant, key)
    if sequence is None:
        raise SequenceNotFound(f'sequence "{key}" not found')
    versions = client.list_sequence_versions(tenant, sequence.id)
    if number is not None:
        versions = [each for each in versions if each.version == number]
    if not versions:
        raise VersionNotFound(f'sequence "{key}" has no version {number or ""}'.rstrip())
    return next((each for each in versions if each.state == "active"), versions[-1])


def _words(fault: Any) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.path)
    line = f", line {fault.line}" if fault.line else ""
    return f"template{place}{line}: {fault.message}"


def _read(file: str) -> list[Document]:
    """Return the documents of a file, or of standard input.

    Raises:
        DocumentError: it does not parse.
        UnreadableFile: it cannot be read at all.
    """
    name = "standard input" if file == "-" else file
    try:
        given = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return read(given.decode("utf-8-sig").replace("\r\n", "\n"), name)
    except OSError as error:
        raise UnreadableFile(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{name}: not UTF-8, {error.reason}") from None


def _sound(file: str) -> list[Document]:
    """Return the documents of a file. Raises `DocumentError`, also for a template's sake."""
    documents = _read(file)
    faults = [fault for each in documents for fault in each.template_faults()]
    if faults:
        raise DocumentError(faults)
    return documents


def _warn(
    documents: list[Document], client: Client | None = None, tenant: str | None = None
) -> None:
    """Say on standard error what is no fault and is probably not meant."""
    for document in documents:
        rows = client.template_variables(tenant, document.key) if client else []
        for doubt in document.doubtful_variables({row.variable: row.source for row in rows}):
            stderr.out(f"warning: {doubt.where}: {doubt.message}", highlight=False)


def _planned(client: Client, tenant: str | None, document: Document) -> list[Any]:
    with _located(document):
        return client.plan(tenant, document.value)


def _applied(client: Client, tenant: str | None, document: Document) -> Any:
    try:
        with _located(document), client.connection.transaction():
            return client.apply(tenant, document.value)
    except InvalidVersion as error:
        raise DocumentError(_problems(client, tenant, document)) from error


def _problems(client: Client, tenant: str | None, document: Document) -> list[Fault]:
    """List what the database says against a document, and leave nothing behind."""
    try:
        with client.connection.transaction(force_rollback=True), _located(document):
            version = client.apply(tenant, {**document.value, "activate": False})
            rows = client.validate_sequence_version(tenant, version.id)
    except DocumentError as error:
        return list(error.faults)
    steps = [step["key"] for step in document.value["steps"]]
    return [
        document.fault(
            ("steps", steps.index(row.step_key)) if row.step_key in steps else (),
            f"{row.problem}: {row.detail}",
        )
        for row in rows
    ]


@contextmanager
def _located(document: Document) -> Iterator[None]:
    """Say where in the document stands what the database refuses."""
    try:
        yield
    except DripdropError as error:
        path = error.diag.column_name
        document_is_at_fault = path is not None or isinstance(error, InvalidDefinition)
        if isinstance(error, InvalidTenantKey) or not document_is_at_fault:
            raise
        message = (error.diag.message_primary or "").removeprefix(f'at "{path}": ')
        fault = document.fault(path or "", message, error.diag.message_hint)
        raise DocumentError([fault]) from error


def _as_record(fault: Fault) -> dict[str, Any]:
    return {
        "file": fault.file,
        "line": fault.place.line,
        "column": fault.place.column,
        "path": fault.path,
        "message": fault.message,
        "hint": fault.hint,
    }


def _print_changes(rows: list[Any], title: str | None) -> None:
    if title:
        say(f"sequence {title}:")
    table = []
    for row in rows:
        for field, old, new in _differences(row.field, row.old, row.new):
            table.append((row.action, row.object, field, *_shortened(old, new)))
    if all(old == new == "" for *_, old, new in table):
        print_table(("action", "object"), [row[:2] for row in table])
    else:
        print_table(("action", "object", "field", "old", "new"), table)


def _differences(field: str | None, old: Any, new: Any) -> Iterator[tuple[str | None, Any, Any]]:
    """Go down into what two mappings have in common, so that only what differs is shown."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        yield field, old, new
        return
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            yield from _differences(f"{field}.{key}", old.get(key), new.get(key))


def _shortened(old: Any, new: Any) -> tuple[str, str]:
    """Return two values as JSON; of long ones the part that begins shortly before they differ."""
    first, second = (
        "" if value is None else json.dumps(value, ensure_ascii=False) for value in (old, new)
    )
    if max(len(first), len(second)) <= _LONG:
        return first, second
    same = next(
        (at for at, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]),
        min(len(first), len(second)),
    )
    start = max(0, same - _LONG // 3)
    return _window(first, start), _window(second, start)


def _window(text: str, start: int) -> str:
    before = "…" if start and text else ""
    after = "…" if len(text) > start + _LONG else ""
    return before + text[start : start + _LONG] + after
