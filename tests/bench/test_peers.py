"""A peer is measured by the script that fills its queue and works, in processes of its own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.compare import HERE, PEERS, Peer, rate_of, rendered
from dripdrop.bench.scratch import scratch_database

SCRIPT = """
import os, sys
import psycopg
with psycopg.connect("", autocommit=True) as connection:
    if sys.argv[1] == "fill":
        connection.execute("create table jobs as select generate_series(1, %s::int)", [sys.argv[2]])
        print(WHAT)
    else:
        print("ready", flush=True)
        sys.stdin.readline()
        connection.execute("delete from jobs")
        sys.stdin.read()
"""
RENDERED = json.dumps(rendered())


def test_versions_are_pinned() -> None:
    lines = (HERE / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w\[\]-]+==[\d.]+", line)] == []
    assert not re.search(r'": "[~^]', (HERE / "package.json").read_text())
    assert all(Path(peer.command[-1]).is_file() for peer in PEERS.values())


@pytest.mark.slow
def test_a_peer_is_measured_from_ready_to_nothing_left(server_dsn: str, tmp_path: Path) -> None:
    peer = peer_that_renders(RENDERED, tmp_path)
    with scratch_database(server_dsn) as database:
        assert 1 < rate_of(database, peer, 1) < 100_000


@pytest.mark.slow
def test_a_peer_that_renders_something_else_is_an_error(server_dsn: str, tmp_path: Path) -> None:
    peer = peer_that_renders('{"subject": "Hello"}', tmp_path)
    with (
        scratch_database(server_dsn) as database,
        pytest.raises(RuntimeError, match="renders something else"),
    ):
        rate_of(database, peer, 1)


def peer_that_renders(text: str, folder: Path) -> Peer:
    script = folder / "peer.py"
    script.write_text(SCRIPT.replace("WHAT", repr(text)))
    return Peer((sys.executable, str(script)), 100, "select exists (select from jobs)")
