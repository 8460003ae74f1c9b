"""The commands that take sequences from files into a database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.driver.command import Result, dripdrop
from tests.engine import TENANT, Engine, email

WELCOME = """\
key: onboarding
name: Onboarding
steps:
  - key: welcome
    channel: email
    template:
      subject: Hello {{ name }}
      text: |
        Hello {{ name }},

        good to have you.
"""
WINBACK = """\
key: winback
name: Win back
steps:
  - {key: miss-you, channel: webhook, template: {url: "https://a.example", body: {on: no}}}
"""
BOTH = f"{WELCOME}---\n{WINBACK}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "onboarding.yaml"
    path.write_text(WELCOME)
    return path


def at(dsn: str, command: str, file: Path | str, *options: str, given: str = "") -> Result:
    """Run a command on a file, for the tenant, in the database."""
    where = ("--dsn", dsn, "--tenant", TENANT)
    return dripdrop(command, str(file), *where, *options, given=given)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_apply_says_what_it_did_and_which_version_is_in_force(
    engine: Engine, dsn: str, file: Path
) -> None:
    result = at(dsn, "apply", file)
    assert result.returncode == 0
    assert result.stdout.splitlines() == [
        "action  object",
        "create  sequence onboarding",
        "create  version 1",
        "add     step welcome",
        "sequence onboarding: version 1 is in force",
    ]
    assert engine.get_sequence(TENANT, "onboarding").name == "Onboarding"


def test_applying_twice_says_that_nothing_changes(dsn: str, file: Path) -> None:
    at(dsn, "apply", file)
    result = at(dsn, "apply", file)
    assert result.stdout == "sequence onboarding: nothing to change, version 1 is in force\n"


def test_a_draft_is_not_said_to_be_in_force(dsn: str) -> None:
    result = at(dsn, "apply", "-", given=f"activate: false\n{WELCOME}")
    assert result.stdout.endswith("sequence onboarding: version 1 is draft, not in force\n")


def test_apply_takes_json_and_standard_input(engine: Engine, dsn: str) -> None:
    document = {"key": "trial", "name": "Trial", "steps": [email("welcome")]}
    at(dsn, "apply", "-", given=json.dumps(document, indent="\t"))
    assert engine.get_sequence(TENANT, "trial").name == "Trial"


def test_what_yaml_calls_a_text_is_stored_as_one(engine: Engine, dsn: str) -> None:
    at(dsn, "apply", "-", given=WINBACK)
    [row] = engine.rows("select template_content -> 'body' as body from dripdrop.steps")
    assert row.body == {"on": "no"}


def test_apply_prints_one_line_of_json_per_sequence(dsn: str) -> None:
    first, second = lines(at(dsn, "apply", "-", "--json", given=BOTH))
    assert (first["sequence"], first["version"], first["state"]) == ("onboarding", 1, "active")
    assert [change["action"] for change in second["changes"]] == ["create", "create", "add"]


def test_the_documents_of_a_file_are_applied_together_or_not_at_all(
    engine: Engine, dsn: str
) -> None:
    before = engine.contents()
    result = at(dsn, "apply", "-", given=BOTH.replace("channel: webhook", "channel: pigeon"))
    assert result.returncode == 1
    assert engine.contents() == before


def test_plan_ends_with_0_when_nothing_would_change(dsn: str, file: Path) -> None:
    at(dsn, "apply", file)
    result = at(dsn, "plan", file)
    assert (result.returncode, result.stdout) == (0, "sequence onboarding: nothing to change\n")


def test_plan_ends_with_2_when_something_would_change_and_changes_nothing(
    engine: Engine, dsn: str, file: Path
) -> None:
    before = engine.contents()
    result = at(dsn, "plan", file)
    assert result.returncode == 2
    assert "add     step welcome\n" in result.stdout
    assert engine.contents() == before


def test_plan_shows_of_a_template_only_the_field_that_differs(dsn: str, file: Path) -> None:
    at(dsn, "apply", file)
    result = at(dsn, "plan", "-", given=WELCOME.replace("subject: Hello", "subject: Welcome"))
    [row] = [line for line in result.stdout.splitlines() if "step welcome" in line]
    assert row.split("  ") == [
        *("change", "step welcome", "template.subject"),
        *('"Hello {{ name }}"', '"Welcome {{ name }}"'),
    ]


def test_plan_shows_of_long_values_where_they_differ(dsn: str) -> None:
    long = WELCOME.replace("good to", "good " * 50 + "to")
    at(dsn, "apply", "-", given=long)
    result = at(dsn, "plan", "-", given=long.replace("to have you", "to see you"))
    [row] = [line for line in result.stdout.splitlines() if "step welcome" in line]
    old, new = row.split("  ")[-2:]
    assert "to have you." in old and "to see you." in new
    assert max(len(old), len(new)) < 70


def test_plan_prints_the_rows_of_the_database_as_json(dsn: str, file: Path) -> None:
    at(dsn, "apply", file)
    [row, *_] = lines(at(dsn, "plan", "-", "--json", given=WELCOME.replace("Onboarding", "On")))
    assert row == {
        "sequence": "onboarding",
        "action": "change",
        "object": "sequence onboarding",
        "field": "name",
        "old": "Onboarding",
        "new": "On",
    }


def test_plan_tells_the_sequences_of_a_file_apart(dsn: str) -> None:
    output = at(dsn, "plan", "-", given=BOTH).stdout
    assert output.index("sequence onboarding:\n") < output.index("step welcome")
    assert output.index("step welcome") < output.index("sequence winback:\n")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_what_the_database_refuses_is_shown_in_the_file(dsn: str, file: Path, command: str) -> None:
    file.write_text(WELCOME.replace("channel: email", "channel: pigeon"))
    result = at(dsn, command, file)
    assert (result.returncode, result.stdout) == (1, "")
    what, source, caret, hint = result.stderr.splitlines()
    assert what == f'{file}:5:5: steps[0].channel: channel "pigeon" is unknown'
    assert source == "    5 |     channel: pigeon"
    assert caret == "      |     ^^^^^^^^^^^^^^^"
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_a_template_that_does_not_parse_is_refused(
    engine: Engine, dsn: str, file: Path, command: str
) -> None:
    before = engine.contents()
    file.write_text(WELCOME.replace("good to", "{% fi %}"))
    result = at(dsn, command, file)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{file}:11:12: steps[0].template.text: unexpected tag 'fi'")
    assert engine.contents() == before


def test_what_keeps_a_version_from_being_activated_is_shown_in_the_file(
    engine: Engine, dsn: str, file: Path
) -> None:
    file.write_text(WELCOME.replace("channel: email", "channel: email\n    config: {topic: news}"))
    result = at(dsn, "apply", file)
    assert result.returncode == 1
    assert result.stderr.startswith(f"{file}:4:5: steps[0]: unknown_topic: ")


def test_a_fault_far_out_in_a_long_line_is_shown_with_what_is_around_it(dsn: str) -> None:
    given = WINBACK.replace("no}", "no, at: " + "x" * 300 + ", of: '{% fi %}'}")
    what, source, caret, *_ = at(dsn, "plan", "-", given=given).stderr.splitlines()
    assert "unexpected tag 'fi'" in what
    assert len(source) < 120
    assert source[caret.index("^") : caret.rindex("^") + 1] == "fi"


def test_a_syntax_error_is_shown_where_it_is(dsn: str) -> None:
    result = at(dsn, "apply", "-", given="key: a\n  name: b\n")
    assert result.returncode == 1
    assert result.stderr.startswith("standard input:2:7: mapping values are not allowed here")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(
    dsn: str, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "there.yaml"
    if content:
        file.write_bytes(content)
    result = at(dsn, "plan", file)
    assert result.returncode == 1
    assert result.stderr.startswith(f"dripdrop: {file}: ")


def test_a_bad_tenant_key_is_no_fault_of_the_file(dsn: str, file: Path) -> None:
    result = dripdrop("plan", str(file), "--dsn", dsn, "--tenant", ":global")
    assert result.returncode == 1
    assert result.stderr.startswith("dripdrop: tenant key")


def test_validate_needs_no_database(file: Path) -> None:
    result = dripdrop("validate", str(file))
    assert (result.returncode, result.stdout) == (0, "nothing wrong with onboarding\n")


def test_validate_lists_every_template_that_does_not_parse(file: Path) -> None:
    file.write_text(BOTH.replace("Hello {{ name }}\n", "'{{'\n").replace("a.example", "{% fi %}"))
    result = dripdrop("validate", str(file))
    assert result.returncode == 1
    assert f"{file}:7:17: steps[0].template.subject: " in result.stdout
    assert f"{file}:16:67: steps[0].template.url: unexpected tag 'fi'\n" in result.stdout


def test_validate_prints_json(file: Path) -> None:
    file.write_text(WELCOME.replace("good to", "{% fi %}"))
    [fault] = lines(dripdrop("validate", str(file), "--json"))
    assert fault == {
        "file": str(file),
        "line": 11,
        "column": 12,
        "path": "steps[0].template.text",
        "message": "unexpected tag 'fi'",
        "hint": None,
    }


def test_validate_with_a_database_lists_what_it_says_of_every_sequence_and_leaves_nothing(
    engine: Engine, dsn: str, file: Path
) -> None:
    before = engine.contents()
    broken = BOTH.replace("channel: email", "channel: email\n    config: {topic: news}")
    file.write_text(broken.replace("channel: webhook", "channel: pigeon"))
    faults = lines(at(dsn, "validate", file, "--json"))
    assert [(fault["line"], fault["path"]) for fault in faults] == [
        (4, "steps[0]"),
        (17, "steps[0].channel"),
    ]
    assert engine.contents() == before


def test_validate_looks_at_the_version_in_force(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.author(email("welcome", template={"subject": "{{", "text": "Hi"}), activate=False)
    result = dripdrop("validate", "--dsn", dsn, "--tenant", TENANT, "--sequence", "onboarding")
    assert (result.returncode, result.stdout) == (0, "nothing wrong with onboarding, version 1\n")


def test_validate_lists_the_faults_of_a_stored_version(engine: Engine, dsn: str) -> None:
    engine.author()
    engine.author(
        email("welcome", adapter="email", template={"subject": "Hi", "text": "a\n{% if %}"}),
        activate=False,
    )
    adapter = engine.get_default_adapter(TENANT, "email")
    engine.update_channel_adapter(TENANT, adapter.id, active=False)
    result = dripdrop(
        *("validate", "--dsn", dsn, "--tenant", TENANT),
        *("--sequence", "onboarding", "--version", "2", "--json"),
    )
    assert result.returncode == 1
    first, second = lines(result)
    assert (first["problem"], first["step_key"]) == ("adapter_inactive", "welcome")
    assert second == {
        "sequence": "onboarding",
        "version": 2,
        "problem": "invalid_template",
        "step_key": "welcome",
        "detail": "template.text, line 2: missing expression",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sequence", "nowhere"), 'sequence "nowhere" not found'),
        (("--sequence", "onboarding", "--version", "7"), "has no version 7"),
    ],
)
def test_a_stored_version_that_is_not_there_is_said_so(
    engine: Engine, dsn: str, options: tuple[str, ...], message: str
) -> None:
    engine.author()
    result = dripdrop("validate", "--dsn", dsn, "--tenant", TENANT, *options)
    assert result.returncode == 1
    assert message in result.stderr


def test_validate_wants_a_file_or_a_sequence(file: Path) -> None:
    assert dripdrop("validate").returncode == 2
    assert dripdrop("validate", str(file), "--sequence", "onboarding").returncode == 2


def test_validate_says_what_the_data_has_to_hold(file: Path) -> None:
    assert dripdrop("validate", str(file)).stderr == "onboarding takes from the data: name\n"


@pytest.mark.parametrize("command", ["validate", "plan", "apply"])
def test_what_nobody_enrolled_has_in_their_data_is_warned_of(
    engine: Engine, dsn: str, file: Path, command: str
) -> None:
    engine.author()
    engine.join("ann", data={"email": "ann@example.com", "name": "Ann"})
    file.write_text(WELCOME.replace("good to", "{{ city }} {{ hooks.score }} good to"))
    result = at(dsn, command, file)
    assert result.returncode in (0, 2)
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        f'warning: {file}:6:5: variable "city": nobody enrolled has it in their data',
        f'warning: {file}:6:5: variable "hooks": a template names a hook by its key alone',
    ]


def test_the_schema_of_a_kind_of_document_is_printed(dsn: str) -> None:
    schema = json.loads(dripdrop("schema", "step", "--dsn", dsn).stdout)
    assert schema["$ref"] == "#/$defs/step"
    assert "max_retries" in schema["$defs"]["step.config"]["properties"]
