"""Sequence documents from files: what the text means, and where in it everything stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dripdrop.documents import Document, DocumentError, Fault, read

SEQUENCE = """\
# What a new customer hears.
key: onboarding
name: Onboarding
steps:
  - key: welcome
    channel: email
    template:
      subject: Welcome
      text: |
        Hello {{ name }},

        good to have you.
  - key: tip
    channel: email
    timing: {type: delay, delay_amount: 3, delay_unit: days}
    template: {subject: "A tip", text: Invite your team.}
"""


def document(text: str) -> Document:
    (only,) = read(text, "a.yaml")
    return only


def value(text: str) -> Any:
    """Return what a scalar means as the value of a field."""
    return document(f"field: {text}").value["field"]


def faults(text: str, file: str = "a.yaml") -> list[Fault]:
    with pytest.raises(DocumentError) as refusal:
        read(text, file)
    return list(refusal.value.faults)


def marked(fault: Fault) -> str:
    """Return what the caret stands under."""
    start = fault.place.column - 1
    return fault.source[start : start + fault.place.width]


@pytest.mark.parametrize(
    "text",
    (
        *("on", "off", "yes", "no", "y", "N", "tRUE", "nULL", "=", "<<"),
        *("2026-03-02", "2026-03-02 09:00:00", "09:30", "1:30:00"),
        *("1_000", "0b1", "0o9", "1e", ".", ".inf", ".nan"),
    ),
)
def test_what_other_readers_make_something_of_stays_a_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("012", 12),
        ("0o14", 12),
        ("0xff", 255),
        ("1.5", 1.5),
        ("-.5e3", -500.0),
        ('"true"', "true"),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_a_scalar_means_what_the_core_schema_says(text: str, meaning: Any) -> None:
    found = value(text)
    assert (type(found), found) == (type(meaning), meaning)


def test_a_key_is_a_text_whatever_it_looks_like() -> None:
    assert document("on: {1: a, true: b, null: c}").value == {
        "on": {"1": "a", "true": "b", "null": "c"}
    }


def test_an_alias_stands_for_what_it_names() -> None:
    assert document("a: &x {b: 1}\nc: *x").value == {"a": {"b": 1}, "c": {"b": 1}}


numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]))
# In YAML a key is at most 1,024 characters, escapes included.
keys = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), max_size=80)
values = st.recursive(
    st.none() | st.booleans() | numbers | printable,
    lambda each: st.lists(each) | st.dictionaries(keys, each),
)


@pytest.mark.slow
@given(values, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_json_means_the_same_as_yaml(given: Any, indent: int | str | None, ascii: bool) -> None:
    text = json.dumps({"field": given}, indent=indent, ensure_ascii=ascii)
    assert document(text).value["field"] == given


def test_several_documents_are_several_sequences() -> None:
    documents = read("key: a\n---\nkey: b\n", "a.yaml")
    assert [each.key for each in documents] == ["a", "b"]


def test_an_empty_document_is_left_out() -> None:
    assert [each.key for each in read("---\nkey: a\n---\n# nothing more\n", "a.yaml")] == ["a"]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("key: a\n  name: b\n", 2, 7, "mapping values are not allowed here"),
        ("key: a\nsteps: [b\n", 3, 1, "expected ',' or ']'"),
        ("key: a\nname: b\nkey: c\n", 3, 1, 'the key "key" stands here already'),
        ("a: &x [*x]", 1, 4, "the alias stands inside what it names"),
        ("a: !!binary aGk=", 1, 4, "tag:yaml.org,2002:binary"),
        ("a: !mine b", 1, 4, '"!mine"'),
        ("a: !!int b", 1, 4, "not what its tag says"),
        ("a: 1e999", 1, 4, "too large"),
        ("? [a]\n: b", 1, 3, "the key is not a text"),
        ('a: "\\ud83d"', 1, 4, "surrogate"),
        ('a: "b\\0"', 1, 4, "NUL"),
        ("a: *x", 1, 4, "undefined alias"),
        ('a: b\nc: "\x07"', 2, 5, "#x0007"),
        ("", 1, 1, "the file is empty"),
        ("# nothing\n", 1, 1, "the file is empty"),
        ("- key: a", 1, 1, "not a mapping"),
        ("key: a\n---\nname: x\nkey: a\n", 4, 1, '"a" stands in this file already'),
    ],
)
def test_a_fault_of_the_text_has_its_place(text: str, line: int, column: int, message: str) -> None:
    [fault] = faults(text)
    assert message in fault.message
    assert (fault.place.line, fault.place.column) == (line, column)


def test_what_is_called_json_is_judged_as_json() -> None:
    [fault] = faults('{\n  "key": "a",\n}', "a.json")
    assert (fault.place.line, "double quotes" in fault.message) == (3, True)


@pytest.mark.parametrize(
    ("path", "line", "mark"),
    [
        ("name", 3, "name: Onboarding"),
        ("steps", 4, "steps"),
        ("steps[0]", 5, "k"),
        ("steps[0].channel", 6, "channel: email"),
        ("steps[0].template.text", 9, "text"),
        ("steps[1].timing.delay_unit", 15, "delay_unit: days"),
        ("steps[1].timing", 15, "timing: {type: delay, delay_amount: 3, delay_unit: days}"),
        (
            "steps[1].timing.calendar",
            15,
            "timing: {type: delay, delay_amount: 3, delay_unit: days}",
        ),
        ("steps[0].template.headers.X.Y", 7, "template"),
        ("steps[7].key", 4, "steps"),
        ("time_zone", 2, "k"),
        ("", 2, "k"),
    ],
)
def test_a_path_leads_to_its_place_or_to_the_nearest_above(path: str, line: int, mark: str) -> None:
    fault = document(SEQUENCE).fault(path, "wrong")
    assert (fault.place.line, marked(fault)) == (line, mark)
    assert fault.where.startswith(f"a.yaml:{line}:")


def test_places_count_from_the_beginning_of_the_file() -> None:
    _, second = read("key: a\n---\nkey: b\nname: x\n", "a.yaml")
    assert second.fault("name", "wrong").place.line == 4


def test_the_places_of_json_are_found_too() -> None:
    [only] = read('{\n\t"key": "a",\n\t"steps": [\n\t\t{"key": "b"}\n\t]\n}', "a.json")
    fault = only.fault("steps[0].key", "wrong")
    assert (fault.place.line, marked(fault)) == (4, '"key": "b"')


def test_sound_templates_have_no_faults() -> None:
    assert document(SEQUENCE).template_faults() == []


@pytest.mark.parametrize(
    ("old", "new", "line", "mark", "message"),
    [
        ("good to", "{% fi %}", 12, "fi", "unexpected tag 'fi'"),
        ("name }}", "name | upcse }}", 10, "upcse", "unknown filter 'upcse'"),
        ("A tip", "A {% fi %}", 16, "fi", "unexpected tag 'fi'"),
        ('"A tip"', '"A\\n{% fi %}"', 16, "fi", "unexpected tag 'fi'"),
        ('"A tip"', '"\\x41\\n\\x41{% fi %}"', 16, 'subject: "\\x41\\n\\x41{% fi %}"', "'fi'"),
        ("Welcome\n", "W\n        {% fi %}\n", 8, "subject", "unexpected tag 'fi'"),
        ("good to", "{% if name %}", 9, "text", "expected tag endif"),
    ],
)
def test_a_template_that_does_not_parse_is_shown_where_it_stands(
    old: str, new: str, line: int, mark: str, message: str
) -> None:
    [fault] = document(SEQUENCE.replace(old, new)).template_faults()
    assert message in fault.message
    assert (fault.place.line, marked(fault)) == (line, mark)


def test_every_template_that_does_not_parse_is_named() -> None:
    broken = SEQUENCE.replace("Welcome\n", "'{{'\n").replace("A tip", "{% fi %}")
    paths = [fault.path for fault in document(broken).template_faults()]
    assert paths == ["steps[0].template.subject", "steps[1].template.subject"]


def test_the_templates_of_hooks_are_read_too() -> None:
    text = (
        'key: a\nhooks:\n  - {key: score, url: "https://a.example/{{ id", body_template: "{% x %}"}'
    )
    paths = [fault.path for fault in document(text).template_faults()]
    assert paths == ["hooks[0].url", "hooks[0].body_template"]


def test_what_is_no_list_of_steps_has_no_templates() -> None:
    for steps in ("x", "{a: 1}", "[1, [2]]", "null"):
        assert document(f"key: a\nsteps: {steps}").template_faults() == []


def test_a_variable_that_is_almost_another_one_is_doubted() -> None:
    (document,) = read(
        "key: a\nname: A\nsteps:\n"
        "  - {key: a, channel: email, template: {subject: 'Hi {{ name }}', text: '{{ name }}'}}\n"
        "  - {key: b, channel: email, template: {subject: 'Hi {{ nmae }}', text: '{{ plan }}'}}\n"
        "  - {key: c, channel: email, template: {subject: x, text: '{{ subscriber_idd }}'}}\n",
        "a.yaml",
    )
    assert [(each.path, each.message) for each in document.doubtful_variables()] == [
        ("steps[1].template", 'variable "nmae": is "name" meant?'),
        ("steps[2].template", 'variable "subscriber_idd": is "subscriber_id" meant?'),
    ]


def words(*texts: str) -> Document:
    """Return a document whose steps say these words."""
    steps = [
        {"key": f"s{place}", "channel": "email", "template": {"subject": "Hi", "text": text}}
        for place, text in enumerate(texts)
    ]
    (document,) = read(json.dumps({"key": "a", "name": "A", "steps": steps}), "a.json")
    return document


def test_of_two_names_with_the_same_letters_each_is_doubted() -> None:
    doubts = words("{{ first_name }}", "{{ frist_name }}").doubtful_variables()
    assert [each.message for each in doubts] == [
        'variable "first_name": is "frist_name" meant?',
        'variable "frist_name": is "first_name" meant?',
    ]


@pytest.mark.parametrize("name", ["hooks.score", "steps.welcome.state"])
def test_a_variable_of_predicates_is_doubted_in_a_template(name: str) -> None:
    (doubt,) = words(f"{{{{ {name} }}}}").doubtful_variables()
    assert doubt.message.startswith(f'variable "{name.split(".")[0]}": ')


def test_what_nobodys_data_holds_is_doubted_once_people_are_enrolled() -> None:
    document = words("{{ plan }} {{ city }}")
    assert document.doubtful_variables({"now_iso8601": "engine"}) == []
    (doubt,) = document.doubtful_variables({"city": "data"})
    assert doubt.message == 'variable "plan": nobody enrolled has it in their data'


def test_the_data_has_to_hold_what_neither_the_engine_nor_a_hook_does() -> None:
    (document,) = read(
        "key: a\nname: A\nhooks: [{key: score, url: 'https://a.example/{{ city }}'}]\nsteps:\n"
        "  - {key: a, channel: email, template:"
        " {subject: '{{ name }}', text: '{{ score }} {{ subscriber.id }}'}}\n",
        "a.yaml",
    )
    assert document.variables_of_data() == ["city", "name"]


def test_a_hooks_request_has_the_filters_and_tags_of_its_part() -> None:
    (document,) = read(
        "key: a\nname: A\nsteps: []\nhooks:\n"
        "  - {key: a, url: 'https://a.example/{{ x | json }}', body_template: '{{ x | json }}'}\n"
        "  - {key: b, url: 'https://a.example/', body_template: '{{ x | json }}',"
        " headers: {content-type: application/x-www-form-urlencoded}}\n"
        "  - {key: c, url: '{% capture x %}{% endcapture %}'}\n",
        "a.yaml",
    )
    assert [(each.path, each.message) for each in document.template_faults()] == [
        ("hooks[0].url", "unknown filter 'json'"),
        ("hooks[1].body_template", "unknown filter 'json'"),
        ("hooks[2].url", "unexpected tag 'capture'"),
    ]
