"""Liquid as Shopify's users know it, where python-liquid differs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from dripdrop.templates import REQUEST, Renderer

NOTHING: Mapping[str, Any] = MappingProxyType({})
BLANK = {
    "missing": NOTHING,
    "null": {"name": None},
    "false": {"name": False},
    "an empty text": {"name": ""},
    "a text of spaces": {"name": " \t\n\u00a0"},
    "an empty list": {"name": []},
    "an empty object": {"name": {}},
}
NOT_BLANK = {
    "a text": {"name": " x "},
    "true": {"name": True},
    "zero": {"name": 0},
    "a list": {"name": [None]},
    "an object": {"name": {"a": None}},
}


def render(source: str, variables: Mapping[str, Any] = NOTHING, field: str = "text") -> str:
    """Return what a template prints."""
    renderer = Renderer()
    renderer.learn("hash", {field: source})
    text: str = renderer.render("hash", variables)[field]
    return text


def yes(condition: str, variables: Mapping[str, Any]) -> bool:
    """Return whether a condition holds."""
    return render(f"{{% if {condition} %}}yes{{% endif %}}", variables) == "yes"


@pytest.mark.parametrize("variables", BLANK.values(), ids=BLANK)
def test_what_is_blank(variables: Mapping[str, Any]) -> None:
    assert yes("name == blank", variables)
    assert yes("blank == name", variables)
    assert not yes("name != blank", variables)
    assert render("{% case name %}{% when blank %}yes{% endcase %}", variables) == "yes"
    assert render("{% unless name == blank %}no{% endunless %}", variables) == ""


@pytest.mark.parametrize("variables", NOT_BLANK.values(), ids=NOT_BLANK)
def test_what_is_not_blank(variables: Mapping[str, Any]) -> None:
    assert not yes("name == blank", variables)
    assert not yes("blank == name", variables)
    assert yes("name != blank", variables)
    assert render("{% case name %}{% when blank %}yes{% endcase %}", variables) == ""


def test_false_is_blank_where_it_is_written_too() -> None:
    assert yes("false == blank", NOTHING)
    assert yes("nil == blank", NOTHING)
    assert not yes("true == blank", NOTHING)


@pytest.mark.parametrize(
    ("name", "empty"),
    [("", True), ([], True), ({}, True), (None, False), (False, False), (0, False)],
)
def test_what_is_empty(name: Any, empty: bool) -> None:
    assert yes("name == empty", {"name": name}) is empty
    assert yes("name != empty", {"name": name}) is not empty


@pytest.mark.parametrize("variables", [NOTHING, {"name": None}])
def test_null_and_missing_are_nil(variables: Mapping[str, Any]) -> None:
    assert yes("name == nil", variables)
    assert yes("name == null", variables)
    assert not yes("name != nil", variables)
    assert not yes("name == false", variables)
    assert not yes("name", variables)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ name | date: '%d %b' }}", ""),
        ("{{ 'Dear ' | append: name }}", "Dear "),
        ("{{ 'Dear' | prepend: name }}", "Dear"),
        ("{{ 'a-b' | replace: '-', name }}", "ab"),
        ("{{ name | append: 'x' }}", "x"),
        ("{{ name | default: 'friend' }}", "friend"),
        ("{{ name | upcase }}{{ name | split: ',' }}{{ name | size }}", "0"),
        ("{{ 5 | plus: name }}", "5"),
        ("{{ '2026-03-02' | date: name }}", "2026-03-02"),
        ("{% for each in list limit: name %}{{ each }}{% endfor %}", "ab"),
        ("{% for each in name %}{{ each }}{% endfor %}", ""),
        ("{{ name.first.last }}", ""),
    ],
)
def test_null_is_as_good_as_missing(source: str, text: str) -> None:
    for variables in ({}, {"name": None}):
        assert render(source, {"list": ["a", "b"]} | variables) == text


def test_null_within_a_list_is_joined_as_nothing_and_truth_in_lower_case() -> None:
    assert render("{{ name | join: '-' }}", {"name": ["a", None, True, 1]}) == "a--true-1"


def test_a_text_filter_writes_truth_in_lower_case() -> None:
    assert render("{{ 'is ' | append: name }}", {"name": False}) == "is false"
    assert render("{{ name | append: '!' }}", {"name": True}) == "true!"


def test_null_is_still_null_as_json() -> None:
    renderer = Renderer(REQUEST)
    renderer.learn("hash", {"json": "{{ name | json }} {{ all | json }}"})
    variables = {"name": None, "all": {"a": None}}
    assert renderer.render("hash", variables) == {"json": 'null {"a": null}'}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-03-02T09:00:00Z", "02 Mar"),
        (0, "01 Jan"),
        ("", ""),
        ("soon", "soon"),
        ("9" * 40, "9" * 40),
        (10**18, str(10**18)),
        ("99999-12-31", "99999-12-31"),
        (1.5, "1.5"),
        (True, "true"),
        ([], ""),
        ({}, "{}"),
    ],
)
def test_what_is_no_date_is_left_as_it_is(value: Any, text: str) -> None:
    assert render("{{ name | date: '%d %b' }}", {"name": value}) == text


@pytest.mark.parametrize("field", ["text", "html"])
@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "a\rb", "\r\n\r\n", "a\r\n\nb\r"])
def test_line_breaks_stay_as_they_are_written(field: str, text: str) -> None:
    assert render(text + "{{ name }}", {"name": text}, field) == text + text
    captured = f"{{% capture all %}}{text}{{{{ name }}}}{{% endcapture %}}{{{{ all }}}}"
    assert render(captured, {"name": text}, field) == text + text
