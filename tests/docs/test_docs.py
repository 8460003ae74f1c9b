"""The documentation says what the database says, and does what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
import typer

from dripdrop.cli import app
from scripts.document import ROOT, pages, reference, rerun, tabled
from tests.engine import TENANT, Engine

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
SESSIONS = [
    name for name, page in PAGES.items() if re.search("^```(psql|console)$", page.read_text(), re.M)
]
COMMANDS = [name for name in SESSIONS if "```console" in PAGES[name].read_text()]
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text()

Connection = psycopg.Connection[Any]


def test_the_reference_and_the_errors_are_those_of_the_database(db: Connection) -> None:
    for page, text in reference(db).items():
        assert page.read_text() == text, f"{page.name} is stale: make docs"


def test_the_reference_has_every_public_function(db: Connection) -> None:
    page = (ROOT / "docs" / "reference" / "functions.md").read_text()
    public = db.execute(
        "select proname from pg_proc where pronamespace = 'dripdrop'::regnamespace"
        " and proname not like '\\_%' and prorettype <> 'trigger'::regtype"
    ).fetchall()
    assert {name for (name,) in public} <= set(re.findall(r"^### (\w+)$", page, re.MULTILINE))


def settings_tables(rows: list[Any]) -> str:
    """Return what a sender of each kind says about itself, as `docs/senders.md` shows it."""
    tables = []
    for kind in dict.fromkeys(row.kind for row in rows):
        lines = [f"`{kind}`:", "", "| field | | |", "|---|---|---|"]
        for row in rows:
            if row.kind == kind:
                marks = [
                    mark
                    for mark, holds in (
                        ("required", row.required),
                        ("sealed", row.secret),
                        ("destination", row.destination),
                    )
                    if holds
                ]
                lines.append(f"| `{row.field}` | {', '.join(marks)} | {row.hint} |")
        tables.append("\n".join(lines).replace("|  |", "| |"))
    return "\n\n".join(tables)


def test_the_page_on_senders_has_every_setting(engine: Engine) -> None:
    tables = settings_tables(engine.provider_settings())
    assert tables in PAGES["docs/senders.md"].read_text()


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_of_fields_are_those_of_the_database(page: str, engine: Engine) -> None:
    text = PAGES[page].read_text()
    assert tabled(text, engine.fields()) == text, "make docs"


@pytest.mark.parametrize(
    "page",
    [pytest.param(name, marks=pytest.mark.slow if name in COMMANDS else ()) for name in SESSIONS],
)
def test_every_session_prints_what_the_page_shows(page: str, dsn: str) -> None:
    text = PAGES[page].read_text()
    assert rerun(text, dsn) == text


def test_the_snippet_in_the_readme_runs_after_its_session(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = PAGES["README.md"].read_text()
    rerun(readme, dsn)
    monkeypatch.setenv("DRIPDROP_DSN", dsn)
    snippets = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {})
    assert "welcome sender open" in capsys.readouterr().out
    with psycopg.connect(dsn) as connection:
        enrolled = connection.execute(
            "select subscriber_id from dripdrop.enrollments order by subscriber_id"
        ).fetchall()
    assert enrolled == [("1",), ("2",)]


def test_the_moves_in_concepts_are_those_the_trigger_allows(db: Connection) -> None:
    (trigger,) = db.execute(
        "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'step_executions_legal_moves'"
    ).fetchone() or ("",)
    states = "scheduled|queued|rendered|sending|unknown|sent|failed|skipped|cancelled"
    shown = set(re.findall(rf"^\| ({states}) \| ({states}) \|", CONCEPTS, re.MULTILINE))
    assert shown == set(re.findall(rf"({states})>({states})", trigger))


def test_the_gates_in_concepts_are_those_that_explain_shows(engine: Engine) -> None:
    engine.author()
    gates = [row.gate for row in engine.explain(TENANT, engine.join().id)]
    table = CONCEPTS.partition("| gate | closed when")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == gates


@pytest.mark.parametrize("page", PAGES)
def test_every_function_a_page_names_exists(page: str, db: Connection) -> None:
    known = {name for (name,) in db.execute("select proname from pg_proc").fetchall()}
    text = PAGES[page].read_text()
    named = set(re.findall(r"\bdripdrop\.(\w+)\(", text)) | set(
        re.findall(r"`(\w+)\([^`]*\)`", text)
    )
    assert named - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_command_a_page_shows_exists(page: str) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in "".join(SHELL.findall(PAGES[page].read_text())).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= set(targets), line
        elif words[:1] == ["dripdrop"]:
            command: Any = typer.main.get_group(app)
            for word in words[1:]:
                if not hasattr(command, "commands"):
                    break
                command = command.commands[word]
            known = {option for each in command.params for option in each.opts}
            assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    path = PAGES[page]
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        linked = path.parent / target if target else path
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
