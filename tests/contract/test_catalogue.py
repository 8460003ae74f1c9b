"""What holds for every object of the schema, whatever it does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

ROOT = Path(__file__).parents[2]

Db = psycopg.Connection[Any]


def names(db: Db, query: str) -> list[str]:
    """Return the first column of a query."""
    return [row[0] for row in db.execute(query.encode())]


def test_every_table_and_view_has_a_comment(db: Db) -> None:
    assert not names(
        db,
        """
        select c.relname
        from pg_class as c
        where c.relnamespace = 'dripdrop'::regnamespace
          and c.relkind in ('r', 'v', 'm', 'S')
          and obj_description(c.oid, 'pg_class') is null
        """,
    )


def test_every_column_has_a_comment(db: Db) -> None:
    assert not names(
        db,
        """
        select c.relname || '.' || a.attname
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid
        where c.relnamespace = 'dripdrop'::regnamespace
          and c.relkind in ('r', 'v', 'm')
          and a.attnum > 0
          and not a.attisdropped
          and col_description(a.attrelid, a.attnum) is null
        """,
    )


def test_every_type_has_a_comment(db: Db) -> None:
    assert not names(
        db,
        """
        select t.typname
        from pg_type as t
        left join pg_class as c on c.oid = t.typrelid
        where t.typnamespace = 'dripdrop'::regnamespace
          and (t.typtype in ('d', 'e', 'r') or c.relkind = 'c')
          and obj_description(t.oid, 'pg_type') is null
        """,
    )


def test_every_function_has_a_comment(db: Db) -> None:
    assert not names(
        db,
        """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and obj_description(p.oid, 'pg_proc') is null
        """,
    )


def test_the_schema_has_a_comment(db: Db) -> None:
    assert names(db, "select obj_description('dripdrop'::regnamespace, 'pg_namespace')") != [None]


def test_every_comment_is_a_sentence(db: Db) -> None:
    comments = names(
        db,
        """
        select d.description
        from pg_description as d
        left join pg_proc as p on d.classoid = 'pg_proc'::regclass and p.oid = d.objoid
        left join pg_class as c on d.classoid = 'pg_class'::regclass and c.oid = d.objoid
        where 'dripdrop'::regnamespace in (p.pronamespace, c.relnamespace)
        """,
    )
    assert len(comments) > 100
    assert [text for text in comments if not re.fullmatch(r"\S[^\n]*[.…]", text)] == []


def test_every_function_resolves_names_by_itself(db: Db) -> None:
    """It pins its search_path, or its body was resolved when it was created."""
    assert not names(
        db,
        """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and p.prosqlbody is null
          and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'))
        """,
    )


def test_ids_that_are_made_one_after_the_other_are_in_order(db: Db) -> None:
    ids = [row[0] for _ in range(200) for row in db.execute("select dripdrop._uuidv7()")]
    assert ids == sorted(ids)
    assert {made.version for made in ids} == {7}


def test_no_parsed_body_names_every_column_of_a_table(db: Db) -> None:
    """Such as `select e.*`: it fails once a column is added, and keeps one from being dropped."""
    assert not names(
        db,
        """
        select distinct pg_describe_object(d.classid, d.objid, 0)
        from pg_class as c
        join pg_depend as d
          on d.refclassid = 'pg_class'::regclass
          and d.refobjid = c.oid
          and d.refobjsubid > 0
          and d.classid in ('pg_proc'::regclass, 'pg_rewrite'::regclass)
        where c.relnamespace = 'dripdrop'::regnamespace
          and c.relkind = 'r'
        group by d.classid, d.objid, c.oid
        having count(distinct d.refobjsubid) = (
          select count(*)
          from pg_attribute as a
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        )
        """,
    )


def test_the_planner_is_set_by_the_list_alone(db: Db) -> None:
    """A function that is listed and does not exist stops the installation."""
    tuning = names(db, "select name from pg_settings where category like 'Query Tuning%'")
    set_by_itself = re.compile(rf"^ *set (local )?({'|'.join(tuning)})\b.*", re.MULTILINE)
    sources = [*ROOT.glob("sql/**/*.sql"), *ROOT.glob("plpgsql/*/*.sql")]
    assert not [found[0] for path in sources for found in set_by_itself.finditer(path.read_text())]
    assert not names(
        db,
        """
        with set_in_fact as (
          select p.proname as function, s.setting
          from pg_proc as p
          cross join unnest(p.proconfig) as s (setting)
          join pg_settings as g on g.name = split_part(s.setting, '=', 1)
          where p.pronamespace = 'dripdrop'::regnamespace
            and g.category like 'Query Tuning%'
        )
        select coalesce(l.function || l.setting, f.function || f.setting)
        from (
          select p.function, unnest(p.settings) as setting
          from dripdrop._planner_settings() as p
        ) as l
        full join set_in_fact as f on f.function = l.function and f.setting = l.setting
        where l.function is null or f.function is null
        """,
    )


def test_what_rules_out_plans_compiles_none(db: Db) -> None:
    """Before 18 a plan that is ruled out costs so much that compiling it seems to pay."""
    assert not names(
        db,
        """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and 'enable_seqscan=off' = any (p.proconfig)
          and 'jit=off' <> all (p.proconfig)
        """,
    )


def test_security_definers_pin_their_search_path(db: Db) -> None:
    assert not names(
        db,
        """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and p.prosecdef
          and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'))
        """,
    )


def test_no_internal_function_runs_as_the_owner(db: Db) -> None:
    """Except the one that the ledger needs: it returns ids, and reads the queues for readers.

    And what a table of the application's calls, and what waits for the commit, which before 18 runs
    as whoever commits.
    """
    assert names(
        db,
        """
        select p.proname
        from pg_proc as p
        join pg_namespace as n on n.oid = p.pronamespace
        where n.nspname = 'dripdrop'
          and p.prosecdef
          and p.proowner = n.nspowner
          and starts_with(p.proname, '_')
          and not exists (select from pg_trigger as t where t.tgfoid = p.oid and t.tgdeferrable)
        """,
    ) == ["_row_deleted", "_without_pointer"]


def test_the_tenant_is_the_first_parameter_and_has_no_default(db: Db) -> None:
    assert not names(
        db,
        """
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and not starts_with(p.proname, '_')
          and array_position(p.proargnames[:p.pronargs], 'tenant_key') is not null
          and (p.proargnames[1] <> 'tenant_key' or p.pronargdefaults = p.pronargs)
        """,
    )


CLOCKS = ("_now", "_uuidv7", "_take_due", "_note_look")
"""Who reads the machine's clock, on purpose: ids are made from it, and looks are timed."""


def test_only_one_function_reads_the_clock(db: Db) -> None:
    clock = re.compile(
        r"\b(now\(\)|(clock|statement|transaction)_timestamp\(\)|current_(timestamp|date|time)\b)"
    )
    readers = [
        row.proname
        for row in db.execute("""
            select p.proname, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) as body
            from pg_proc as p
            where p.pronamespace = 'dripdrop'::regnamespace
        """)
        if clock.search(re.sub(r"\bdripdrop\._now\(\)|--[^\n]*", "", row.body))
    ]
    assert [name for name in readers if name not in CLOCKS] == []


def test_row_level_security_is_on_for_every_table(db: Db) -> None:
    assert not names(
        db,
        """
        select c.relname
        from pg_class as c
        where c.relnamespace = 'dripdrop'::regnamespace and c.relkind = 'r' and not c.relrowsecurity
        """,
    )


def test_every_table_of_a_tenant_has_a_policy(db: Db) -> None:
    assert not names(
        db,
        """
        select c.relname
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attname = 'tenant_key'
        where c.relnamespace = 'dripdrop'::regnamespace
          and c.relkind = 'r'
          and not exists (select from pg_policy as y where y.polrelid = c.oid)
        """,
    )


def test_every_constraint_is_named_after_its_rule(db: Db) -> None:
    """Postgres names constraints by column: what ends like that was not named by hand."""
    assert not names(
        db,
        r"""
        select k.conname
        from pg_constraint as k
        where k.connamespace = 'dripdrop'::regnamespace
          and k.contype in ('c', 'f', 'u', 'x')
          and k.conname ~ '_(check|fkey|key|excl)\d*$'
          and k.conname !~ '_one_per_key$'
        """,
    )


@pytest.mark.parametrize("kind", ["varchar", "timestamp", "json", "money", "serial"])
def test_no_column_has_a_type_to_avoid(db: Db, kind: str) -> None:
    types = names(
        db,
        """
        select distinct format_type(a.atttypid, null)
        from pg_attribute as a
        join pg_class as c on c.oid = a.attrelid
        where c.relnamespace = 'dripdrop'::regnamespace and a.attnum > 0
        """,
    )
    aliases = {"varchar": "character varying", "timestamp": "timestamp without time zone"}
    assert aliases.get(kind, kind) not in types


def test_no_function_depends_on_how_a_session_reads_strings(db: Db) -> None:
    """A backslash in a plain string means something else where it is no ordinary character."""
    plain = re.compile(r"(?<![A-Za-z0-9_])([eE]?)'((?:[^']|'')*)'")
    suspects = [
        (row.proname, found[1])
        for row in db.execute("""
            select p.proname, p.prosrc
            from pg_proc as p
            where p.pronamespace = 'dripdrop'::regnamespace
              and p.prosqlbody is null
              and 'standard_conforming_strings=on' <> all (coalesce(p.proconfig, '{}'))
        """)
        for found in plain.findall(re.sub(r"--[^\n]*", "", row.prosrc))
        if "\\" in found[1] and not found[0]
    ]
    assert suspects == []


def test_what_calls_pgmq_reads_its_strings_as_pgmq_writes_them(db: Db) -> None:
    assert not names(
        db,
        r"""
        select p.oid::regprocedure::text
        from pg_proc as p
        where p.pronamespace = 'dripdrop'::regnamespace
          and p.prosrc ~ '(perform|from) pgmq[.][a-z_]+[(]'
          and 'standard_conforming_strings=on' <> all (coalesce(p.proconfig, '{}'))
        """,
    )
