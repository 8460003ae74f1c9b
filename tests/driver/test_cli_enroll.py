"""The command that enrols whoever is in a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.driver.command import Result, dripdrop
from tests.engine import TENANT, Engine


def run(dsn: str, file: Path | str, *options: str, given: str = "") -> Result:
    where = ("--sequence", "onboarding", "--tenant", TENANT, "--dsn", dsn)
    return dripdrop("enroll", str(file), *where, *options, given=given)


def everybody(engine: Engine) -> dict[str, Any]:
    return {row.subscriber_id: row.data for row in engine.list_enrollments(TENANT)}


def test_the_columns_of_a_csv_file_become_data(engine: Engine, dsn: str, tmp_path: Path) -> None:
    engine.author()
    file = tmp_path / "people.csv"
    file.write_text(
        '\ufeffsubscriber_id;email;name;plan\n1;sam@example.com;"Sam; S.";\n\n2;e@x.org;;b'
    )
    result = run(dsn, file)
    assert (result.returncode, result.stdout) == (0, "2 enrolled, 0 refused\n")
    assert everybody(engine) == {
        "1": {"email": "sam@example.com", "name": "Sam; S."},
        "2": {"email": "e@x.org", "plan": "b"},
    }
    assert list(tmp_path.iterdir()) == [file]


def test_json_lines_are_what_enroll_many_takes(engine: Engine, dsn: str, tmp_path: Path) -> None:
    engine.author()
    file = tmp_path / "people.jsonl"
    file.write_text(
        '{"subscriber_id": 7, "subscriber_type": "Lead", "entry_key": "o-1",'
        ' "data": {"email": "sam@example.com", "n": 1.5}, "metadata": {"from": "fair"}}\n'
    )
    assert run(dsn, file).returncode == 0
    (row,) = engine.list_enrollments(TENANT)
    assert (row.subscriber_type, row.subscriber_id, row.entry_key) == ("Lead", "7", "o-1")
    assert (row.data["n"], row.metadata) == (1.5, {"from": "fair"})


def test_who_is_refused_stands_in_a_file_that_can_be_mended(
    engine: Engine, dsn: str, tmp_path: Path
) -> None:
    engine.author()
    file = tmp_path / "people.csv"
    file.write_text("subscriber_id,email\n1,sam@example.com\n2,nobody\n3\n4,eve@example.com\n")
    result = run(dsn, file)
    rejects = tmp_path / "people.rejects.csv"
    assert (result.returncode, result.stdout) == (1, f"2 enrolled, 2 refused: see {rejects}\n")
    header, two, three = csv.reader(rejects.read_text().splitlines())
    assert header == ["subscriber_id", "email", "fault"]
    assert two[:2] == ["2", "nobody"]
    assert two[2].startswith("line 3: ZD205 ")
    assert three == ["3", "", "line 4: 1 values for 2 columns"]
    rejects.write_text(rejects.read_text().replace("nobody", "tom@example.com"))
    again = run(dsn, rejects)
    assert again.stdout.startswith("1 enrolled, 1 refused")
    assert everybody(engine)["2"] == {"email": "tom@example.com"}


@pytest.mark.parametrize(
    "wrong",
    [
        "{",
        "42",
        '{"subscriber_id": "x", "data": {"n": NaN}}',
        '{"subscriber_id": "x", "data": {"n": "\\u0000"}}',
        '{"subscriber_id": "x", "data": {"n": "\\ud800"}}',
        '{"subscriber_id": "x", "data": {"n": 1e400}}',
        '{"subscriber_id": "x", "data": []}',
        '{"subscriber_id": ["x"], "data": {"email": "x"}}',
        "[" * 5000,
    ],
)
def test_one_line_that_cannot_be_read_stops_no_other(
    engine: Engine, dsn: str, tmp_path: Path, wrong: str
) -> None:
    engine.author()
    file = tmp_path / "people.ndjson"
    good = json.dumps({"subscriber_id": "1", "data": {"email": "sam@example.com"}})
    file.write_text(f"{wrong}\n{good}\n")
    assert run(dsn, file).returncode == 1
    assert sorted(everybody(engine)) == ["1"]
    (reject,) = (tmp_path / "people.rejects.ndjson").read_text().splitlines()
    assert json.loads(reject)["fault"].startswith("line 1: ")


def test_a_long_file_is_committed_in_parts(engine: Engine, dsn: str, tmp_path: Path) -> None:
    engine.author()
    lines = "".join(f"{n},p{n}@example.com\n" for n in range(2_500))
    result = run(
        dsn,
        "-",
        "--format",
        "csv",
        "--rejects",
        str(tmp_path / "no"),
        given=f"subscriber_id,email\n{lines}",
    )
    assert result.stdout == "2500 enrolled, 0 refused\n"
    again = run(
        dsn,
        "-",
        "--format",
        "csv",
        "--rejects",
        str(tmp_path / "no"),
        given=f"subscriber_id,email\n{lines}",
    )
    assert again.stdout == "2500 enrolled, 0 refused\n"
    assert engine.rows("select count(*)::int as n from dripdrop.enrollments") == [(2_500,)]


@pytest.mark.parametrize(
    ("name", "text"), [("people.txt", ""), ("people.csv", "id,email\n"), ("people.csv", "")]
)
def test_a_file_that_is_none_of_these_is_refused(
    engine: Engine, dsn: str, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert run(dsn, tmp_path / name).returncode == 2
