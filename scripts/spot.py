"""Spot what somebody else could make our scripts run as whoever installs them, with pgspot.

pgspot stops at the first function with an SQL-standard body, and looks into no `elsif`, no
`return query`, no `return next` and no text that is executed. Here every statement is looked at by
itself, and every part of it; one that cannot be read is a failure, and so is a function that was
not seen.
"""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pglast import ast, parse_plpgsql, parse_sql
from pgspot import visitors
from pgspot.formatters import format_function
from pgspot.state import Counter as Tally
from pgspot.state import State

from scripts.extension import extension_sql

ROOT = Path(__file__).resolve().parent.parent

_OURS = re.compile(r"^dripdrop\.")
_GUARDED = "the guard at the head of the script has refused what belongs to others"

ACCEPTED = {
    "PS002": ("create or replace function in schema dripdrop", _OURS, _GUARDED),
    "PS015": ("create or replace view in schema dripdrop", _OURS, _GUARDED),
}
"""Code → what it is about, which of its findings are accepted, and why."""


class Findings(Tally):  # type: ignore[misc]
    """What was found, less what is accepted."""

    def __init__(self) -> None:
        """Begin with nothing."""
        options = {"plpgsql": True, "summary_only": False, "ignore": [], "ignore_lang": []}
        super().__init__(Namespace(**options, sql_fn=[], proc_without_search_path=[]))
        self.statement = ""
        self.functions = set[str]()
        self.found: list[str] = []
        self.accepted: Counter[str] = Counter()

    def warn(self, code: str, context: str) -> None:
        """Note a finding."""
        if code in ACCEPTED and ACCEPTED[code][1].search(context):
            self.accepted[code] += 1
        else:
            self.found.append(f"{code} line {self.line_number()}: {context}")

    error = warn

    def unknown(self, message: str) -> None:
        """Note what pgspot does not know."""
        self.found.append(f"unknown, line {self.line_number()}: {message}")


class Statements(visitors.SQLVisitor):  # type: ignore[misc]
    """pgspot's look at a statement, also at a function whose body is no text."""

    def visit_CreateFunctionStmt(self, ancestors: Any, node: Any) -> None:
        """Look at a function; the visitor goes into a parsed body by itself, under our path."""
        self.state.counter.functions.add(".".join(part.sval for part in node.funcname))
        if node.sql_body is None:
            super().visit_CreateFunctionStmt(ancestors, node)
        elif node.replace:
            self.state.warn("PS002", format_function(node))


class Bodies(visitors.PLPGSQLVisitor):  # type: ignore[misc]
    """pgspot's look at a PL/pgSQL body, also at what it leaves out."""

    def visit(self, node: Any) -> None:
        """Look at a node."""
        if not isinstance(node, dict):
            super().visit(node)
            return
        for key, value in node.items():
            for query in _left_out(key, value):
                visitors.visit_sql(self.state, query)
            match key:
                case "PLpgSQL_if_elsif":
                    self.visit(value.get("stmts", []))
                case "PLpgSQL_stmt_return_next":
                    pass  # an expression, as above
                case "PLpgSQL_stmt_if":
                    self.visit(value.get("elsif_list", []))
                    super().visit({key: value})
                case _:
                    super().visit({key: value})


def _left_out(key: str, value: Any) -> Iterator[str]:
    """Yield the queries of a node that pgspot does not look at."""
    match key:
        case "PLpgSQL_stmt_return_query" if "query" in value:
            yield value["query"]["PLpgSQL_expr"]["query"]
        case "PLpgSQL_stmt_dynexecute":
            (executed,) = parse_sql("select " + value["query"]["PLpgSQL_expr"]["query"])
            literal = executed.stmt.targetList[0].val
            if isinstance(literal, ast.A_Const):
                yield literal.val.sval
        case "PLpgSQL_if_elsif":
            yield "select " + value["cond"]["PLpgSQL_expr"]["query"]
        case "PLpgSQL_stmt_return_next" if "expr" in value:
            yield "select " + value["expr"]["PLpgSQL_expr"]["query"]
        case "PLpgSQL_stmt_dynfors" | "PLpgSQL_stmt_return_query":
            for item in value.get("params", []):
                yield "select " + item["PLpgSQL_expr"]["query"]


def visit_plpgsql(state: State, _: Any) -> None:
    """Look at the body of the statement that is being looked at, in the words it was written in.

    The parser knows no row types: what is declared as one is a record to it.
    """
    declared = re.compile(r"^(\s+v_\w+) dripdrop\.\w+(?=;| :=)", re.MULTILINE)
    parsed = parse_plpgsql(declared.sub(r"\1 record", state.counter.statement))
    Bodies(state)(parsed)


visitors.SQLVisitor = Statements
visitors.visit_plpgsql = visit_plpgsql


def spot(text: str) -> tuple[Findings, int]:
    """Return what is found in a script, and how many statements it has."""
    findings = Findings()
    text = re.sub(r"^\\", r"-- \\", text, flags=re.MULTILINE)
    findings.sql = text
    look = Statements(State(findings))
    statements = parse_sql(text)
    for statement in statements:
        findings.stmt_location = statement.stmt_location
        end = statement.stmt_location + (statement.stmt_len or len(text))
        findings.statement = text[statement.stmt_location : end]
        try:
            look(statement)
        except Exception as error:
            findings.unknown(f"{type(error).__name__}: {error}")
    missing = set(re.findall(r"^create (?:or replace )?function (\S+?)\(", text, re.MULTILINE))
    findings.found += [f"{name} was not looked at" for name in sorted(missing - findings.functions)]
    return findings, len(statements)


def scripts() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every script that somebody runs."""
    for folder in ("deploy", "revert", "verify"):
        for path in sorted((ROOT / folder).glob("*.sql")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()
    yield "the extension", extension_sql()


def main() -> int:
    """Look at every script; return 1 if anything was found."""
    failed = False
    for name, text in scripts():
        findings, statements = spot(text)
        for finding in findings.found:
            print(f"{name}: {finding}", file=sys.stderr)
        accepted = ", ".join(f"{count} {code}" for code, count in findings.accepted.items())
        print(
            f"{name}: {statements} statements, {len(findings.functions)} functions,"
            f" {len(findings.found)} findings" + (f", accepted {accepted}" if accepted else "")
        )
        failed = failed or bool(findings.found)
    for code, (about, _, reason) in ACCEPTED.items():
        print(f"accepted {code}, {about}: {reason}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
