"""plpgsql_check finds nothing in any function."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest


def test_plpgsql_check_is_content(db: psycopg.Connection[Any]) -> None:
    available = "select from pg_available_extensions where name = 'plpgsql_check'"
    if db.execute(available).fetchone() is None:
        pytest.skip("the server does not have plpgsql_check")
    db.execute("create extension plpgsql_check")
    # pg_cron lives in one database of a server; these have its shape.
    db.execute("""
        create schema cron;
        create table cron.job (jobname text);
        create function cron.schedule(text, text, text) returns bigint return 1;
        create function cron.unschedule(text) returns boolean return true;
    """)
    # A trigger of the application's tables is looked at on one.
    db.execute("create table public.users (id int)")
    db.execute("select dripdrop.on_delete(null, 'public.users')")
    complaints = db.execute("""
        select p.oid::regprocedure::text as function, c.lineno, c.level, c.message, c.detail, c.hint
        from pg_proc as p
        join pg_language as l on l.oid = p.prolang and l.lanname = 'plpgsql'
        left join pg_trigger as t on t.tgfoid = p.oid
        cross join lateral plpgsql_check_function_tb(
          p.oid, coalesce(t.tgrelid, 0), fatal_errors => false, oldtable => t.tgoldtable
        ) as c
        where p.pronamespace = 'dripdrop'::regnamespace
    """).fetchall()
    assert [(c.function, c.lineno, c.message, c.detail) for c in complaints] == []
