"""One hand moves executions: executions/moves.sql, and the stages what they have claimed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.sources import ROOT, without_comments

MOVED = {
    "state", "due_at", "waits_for", "awaited_event", "scheduled_for", "reason", "reason_at",
    "ended_at", "fence", "lease_until", "circuit_id", "attempt_window",
}  # fmt: skip
"""The columns that say where an execution is, and why."""

STAGES = {
    "pipeline/tick": {"_carry_out"},
    "pipeline/hook_answers": {"_record_answers"},
    "pipeline/complete_renders": {"_record_renders"},
    "pipeline/send": {"_pass_fence"},
    "pipeline/record": {"_write_results"},
    "pipeline/reconcile": {"_make_unknown"},
    "pipeline/resolve": {"_settle_unknown"},
    # It plays the stages, and rolls back what it did.
    "simulation/simulate": {"_render_ahead", "_send_ahead", "_recall_ahead"},
}
"""The functions that take up, or record, what they hold by a claim."""

_FUNCTION = re.compile(r"create or replace function dripdrop\.(\w+)")
_UPDATE = re.compile(
    r"\bupdate dripdrop\.step_executions\b(?: as \w+)?\s+set\b(.*?)(?=;|\$\$)", re.S
)
_ASSIGNED = re.compile(r"(?:\A|,)\s*(?:\(([^)]+)\)|(\w+))\s*=")


def movers(text: str) -> Iterator[str]:
    """Yield the functions in a text that move executions."""
    for name, body in zip(_FUNCTION.findall(text), _FUNCTION.split(text)[2::2], strict=True):
        for assignments in _UPDATE.findall(without_comments(body)):
            columns = {
                column.strip()
                for several, one in _ASSIGNED.findall(assignments)
                for column in (several or one).split(",")
            }
            if columns & MOVED:
                yield name


def test_only_one_file_and_the_stages_move_executions() -> None:
    found = {}
    for path in sorted((ROOT / "plpgsql").glob("*/*.sql")):
        place = path.relative_to(ROOT / "plpgsql").with_suffix("").as_posix()
        names = set(movers(path.read_text()))
        if names and place != "executions/moves":
            found[place] = names
    assert found == STAGES


def test_a_move_elsewhere_would_be_found() -> None:
    head = (
        "create or replace function dripdrop._f()\nas $$\n  update dripdrop.step_executions as x\n"
    )
    assert list(movers(head + "  set due_at = _f.at\n  where x.id = _f.id;\n$$;")) == ["_f"]
    assert list(movers(head + "  set hooks = '{}', reason = 'x' from y\n$$;")) == ["_f"]
    assert list(movers(head + "  set (payload, state) = ('{}', 'sent')\n$$;")) == ["_f"]
    assert list(movers(head + "  set hooks = case when x.state = 'sent' then y end\n$$;")) == []


def test_what_a_message_waits_for_has_a_function_that_wakes_it() -> None:
    table = (ROOT / "sql/tables/step_executions.sql").read_text()
    (known,) = re.findall(r"check \(waits_for in \(([^)]+)\)\)", table)
    wakers = re.findall(
        r"create or replace function dripdrop\._wake_by_(\w+)",
        "".join(path.read_text() for path in (ROOT / "plpgsql").glob("*/*.sql")),
    )
    # The hooks stage records what it claimed, and release() is called by people.
    assert sorted([*wakers, "hook", "release"]) == sorted(re.findall(r"\w+", known))


FOR_PEOPLE = {"operations/troubles", "operations/status"}
"""Files that choose a hint by a reason, or count by it."""

CLOSED_LISTS = {"consent/unsubscribe"}
"""Files that compare reasons of suppressions, which a constraint lists."""


def test_no_reason_decides_anything() -> None:
    """Reasons are a gate's, a provider's or the application's own words."""
    compared = re.compile(
        r"[\w)]\.(?:\w+_)?reason\b\s*(?:<>|!=|~|=|in \(|is (?:not )?distinct|= any|<> all)"
        r"|\bcase [\w.()]*reason\b"
    )
    found = {
        path.parent.name + "/" + path.stem
        for path in [*(ROOT / "plpgsql").glob("*/*.sql"), *(ROOT / "sql/views").glob("*.sql")]
        if compared.search(without_comments(path.read_text()))
    }
    assert found == {*FOR_PEOPLE, *CLOSED_LISTS}


def test_no_view_or_table_moves_executions() -> None:
    assert not [path for path in (ROOT / "sql").rglob("*.sql") if _UPDATE.search(path.read_text())]
