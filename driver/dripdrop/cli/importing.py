"""The command that enrols whoever is in a file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NamedTuple, TypeAlias

import typer
from rich.progress import Progress, TextColumn

from dripdrop.arguments import written_json
from dripdrop.cli.database import Dsn, Tenant
from dripdrop.cli.output import say
from dripdrop.client import Client
from dripdrop.connections import connect
from dripdrop.errors import InvalidArgument
from dripdrop.process.reporting import stderr
from dripdrop.process.settings import resolve_dsn

Format: TypeAlias = Literal["csv", "jsonl"]

NAMES = ("subscriber_id", "subscriber_type", "entry_key")
"""The columns of a CSV file that are not the subscriber's data."""

FAULT = "fault"
"""The column of a file of rejects that says why, and that is no data when it is read again."""

BATCH = 1000
"""How many people are enrolled in one transaction."""


class Record(NamedTuple):
    """A line of a file: as it is written, and whom it enrols or why nobody."""

    line: int
    written: Mapping[str, Any]
    subscriber: Mapping[str, Any] | None
    fault: str | None = None


def enroll(
    file: Annotated[
        str, typer.Argument(help="CSV or JSON lines; - for standard input.", metavar="FILE")
    ],
    sequence: Annotated[str, typer.Option(help="The sequence's key.", metavar="KEY")],
    file_format: Annotated[
        Format | None,
        typer.Option("--format", help="What the file is, if its name does not say it."),
    ] = None,
    rejects: Annotated[
        Path | None,
        typer.Option(
            help="Where those who are refused go; else FILE with .rejects before its end."
        ),
    ] = None,
    tenant: Tenant = None,
    dsn: Dsn = None,
) -> None:
    """Enrol whoever is in a file; status 1 if somebody was refused.

    A thousand at a time are committed. Who is enrolled already stays so: run it again after a
    failure. Those who are refused are written to a file of their own, with the reason, as they
    were: mend them and pass that file.
    """
    kind = file_format or _format_of(file)
    target = rejects or _rejects_of(file)
    enrolled = refused = 0
    with ExitStack() as stack:
        source: IO[str] = (
            sys.stdin
            if file == "-"
            else stack.enter_context(open(file, encoding="utf-8-sig", newline=""))
        )
        connection = stack.enter_context(connect(resolve_dsn(dsn)))
        columns, records = _records(source, kind)
        output = _Rejects(target, kind, columns, stack)
        progress = stack.enter_context(
            Progress(TextColumn("{task.description}"), console=stderr, transient=True)
        )
        task = progress.add_task("")
        while batch := list(islice(records, BATCH)):
            refusals = _enrolled(Client(connection), tenant, sequence, batch)
            connection.commit()
            for record, fault in refusals:
                output.write(record, fault)
            refused += len(refusals)
            enrolled += len(batch) - len(refusals)
            progress.update(task, description=f"{enrolled} enrolled, {refused} refused")
    say(f"{enrolled} enrolled, {refused} refused" + (f": see {target}" if refused else ""))
    if refused:
        raise typer.Exit(1)


def _enrolled(
    client: Client, tenant: str | None, sequence: str, batch: list[Record]
) -> list[tuple[Record, str]]:
    """Enrol those of a batch who can be; return the others, each with the reason."""
    readable = [record for record in batch if record.subscriber is not None]
    rows = client.enroll_many(
        tenant, sequence, [record.subscriber for record in readable], on_error="skip"
    )
    refused = {
        readable[row.place - 1].line: f"{row.sqlstate} {row.message}"
        for row in rows
        if row.sqlstate
    }
    refused |= {record.line: record.fault for record in batch if record.fault}
    return [(record, refused[record.line]) for record in batch if record.line in refused]


def _format_of(file: str) -> Format:
    ending = Path(file).suffix.lower()
    if ending == ".csv":
        return "csv"
    if ending in (".jsonl", ".ndjson", ".json"):
        return "jsonl"
    raise typer.BadParameter("say with --format whether it is csv or jsonl")


def _rejects_of(file: str) -> Path:
    if file == "-":
        raise typer.BadParameter("say with --rejects where those who are refused go")
    path = Path(file)
    return path.with_name(f"{path.stem}.rejects{path.suffix}")


def _records(source: IO[str], kind: Format) -> tuple[list[str], Iterator[Record]]:
    """Return the columns of a file, none for JSON lines, and its records."""
    if kind == "jsonl":
        return [], _from_json(source)
    header = source.readline()
    delimiter = max(",;\t", key=header.count)
    columns = next(csv.reader([header], delimiter=delimiter), [])
    if "subscriber_id" not in columns:
        raise typer.BadParameter("the first line names the columns, and none is subscriber_id")
    return columns, _from_csv(csv.reader(source, delimiter=delimiter), columns)


def _from_csv(lines: Any, columns: list[str]) -> Iterator[Record]:
    for values in lines:
        if not values:
            continue
        written = dict(zip(columns, values, strict=False))
        line = lines.line_num + 1
        if len(values) != len(columns):
            count = f"{len(values)} values for {len(columns)} columns"
            yield Record(line, written, None, count)
            continue
        subscriber = {name: written[name] for name in NAMES if written.get(name)}
        data = {
            name: value
            for name, value in written.items()
            if value and name and name not in (*NAMES, FAULT)
        }
        yield _checked(line, written, subscriber | {"data": data})


def _from_json(source: IO[str]) -> Iterator[Record]:
    for line, text in enumerate(source, 1):
        if not text.strip():
            continue
        try:
            subscriber = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Record(line, {"text": text.rstrip("\n")}, None, f"not JSON: {error}")
            continue
        if not isinstance(subscriber, dict):
            yield Record(line, {"text": text.rstrip("\n")}, None, "not an object")
            continue
        yield _checked(line, subscriber, {k: v for k, v in subscriber.items() if k != FAULT})


def _checked(line: int, written: Mapping[str, Any], subscriber: Mapping[str, Any]) -> Record:
    try:
        written_json(subscriber, "subscriber")
    except InvalidArgument as error:
        return Record(line, written, None, str(error))
    return Record(line, written, subscriber)


class _Rejects:
    """The file of those who are refused, made when there is one."""

    def __init__(self, path: Path, kind: Format, columns: list[str], stack: ExitStack) -> None:
        self.path, self.kind, self.stack = path, kind, stack
        self.columns = [column for column in columns if column != FAULT]
        self.file: IO[str] | None = None

    def write(self, record: Record, fault: str) -> None:
        """Write a record as it was, with the reason."""
        if self.file is None:
            self.file = self.stack.enter_context(self.path.open("w", encoding="utf-8", newline=""))
            if self.kind == "csv":
                csv.writer(self.file).writerow([*self.columns, FAULT])
        reason = f"line {record.line}: {fault}"
        if self.kind == "csv":
            values = [record.written.get(column, "") for column in self.columns]
            csv.writer(self.file).writerow([*values, reason])
        else:
            # In ASCII: what was refused may hold half of a character.
            self.file.write(json.dumps({**record.written, FAULT: reason}) + "\n")
