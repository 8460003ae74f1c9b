"""Liquid templates become payloads, or a RenderError with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid import Environment

from dripdrop.templates import Renderer, RenderError

NOTHING: Mapping[str, Any] = MappingProxyType({})
MARKUP = "<b>Tom & Jerry</b>"


def render(template: Any, variables: Mapping[str, Any] = NOTHING) -> Any:
    """Return what a new renderer makes of a template."""
    renderer = Renderer()
    renderer.learn("hash", template)
    return renderer.render("hash", variables)


def refused(template: Any) -> RenderError:
    """Return the error that a template ends in."""
    with pytest.raises(RenderError) as refusal:
        render(template)
    return refusal.value


def test_html_is_escaped() -> None:
    assert render({"html": "{{ name }}"}, {"name": MARKUP}) == {
        "html": "&lt;b&gt;Tom &amp; Jerry&lt;/b&gt;"
    }


def test_html_that_is_called_safe_is_not_escaped() -> None:
    assert render({"html": "{{ name | safe }}"}, {"name": MARKUP}) == {"html": MARKUP}


@pytest.mark.parametrize("field", ["text", "subject", "body", "url"])
def test_nothing_else_is_escaped(field: str) -> None:
    assert render({field: "{{ name }}"}, {"name": MARKUP}) == {field: MARKUP}


def test_the_templates_own_markup_stays() -> None:
    assert render({"html": "<p>{{ name }}</p>"}, {"name": "Sam"}) == {"html": "<p>Sam</p>"}


def test_values_are_reached_by_their_path() -> None:
    user = {"plan": {"name": "Pro"}, "tags": ["a", "b"]}
    template = {"text": "{{ user.plan.name }}, {{ user['tags'][1] }}"}
    assert render(template, {"user": user}) == {"text": "Pro, b"}


def test_strings_are_rendered_however_deep_they_stand() -> None:
    template = {"body": {"people": [{"name": "{{ name }}"}, ["{{ name | upcase }}"]]}}
    assert render(template, {"name": "Sam"}) == {"body": {"people": [{"name": "Sam"}, ["SAM"]]}}


def test_what_is_no_string_passes_through() -> None:
    template = {"body": {"n": 3, "f": 1.5, "yes": True, "none": None, "list": [1, {}]}}
    assert render(template) == template


def test_keys_are_not_rendered() -> None:
    assert render({"body": {"{{ name }}": 1}}, {"name": "Sam"}) == {"body": {"{{ name }}": 1}}


@pytest.mark.parametrize("path", ["nobody", "nobody.at.all", "nobody[0].name"])
def test_a_missing_variable_is_empty(path: str) -> None:
    assert render({"text": f"Hello {{{{ {path} }}}}!"}) == {"text": "Hello !"}


@pytest.mark.parametrize("name", ["self", "args", "kwargs", "globals"])
def test_a_variable_may_have_any_name(name: str) -> None:
    assert render({"text": f"{{{{ {name} }}}}"}, {name: "value"}) == {"text": "value"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ name", "expected '}}'"),
        ("{% if %}", "missing expression"),
        ("{% nonsense %}", "nonsense"),
        ("{% include 'secrets' %}", "include"),
        ("{% render 'secrets' %}", "render"),
        ("{% if a %}" * 2000 + "{% endif %}" * 2000, "nesting"),
    ],
)
def test_a_template_that_does_not_parse_says_so_when_rendered(source: str, words: str) -> None:
    error = refused({"text": source})
    assert error.code == "liquid_parse"
    assert words in error.detail


def test_a_parse_error_names_the_line() -> None:
    assert "line 3" in refused({"text": "one\ntwo\n{% nonsense %}"}).detail


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 | divided_by: 0 }}",
        "{{ 1 | no_such_filter }}",
        "{% for i in (1..1000000) %}x{% endfor %}",
        "{% assign x = 9 %}{% for i in (1..20) %}{% assign x = x | times: x %}{% endfor %}{{ x }}",
        "{{ '/w==' | base64_decode }}",
    ],
    ids=["division", "filter", "loop", "digits", "bytes"],
)
def test_a_template_that_fails_or_goes_too_far_is_a_liquid_error(source: str) -> None:
    assert refused({"text": source}).code == "liquid_error"


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (
            "{% assign all = 'a,b' | split: ',' %}{% for i in (1..30) %}"
            "{% assign all = all | concat: all %}{% endfor %}",
            '"all" is too large: the variables that a template sets may take 1000000 bytes',
        ),
        (
            "{% assign s = 'ab' %}{% for i in (1..30) %}{% assign s = s | append: s %}{% endfor %}",
            '"s" is too large: the variables that a template sets may take 1000000 bytes',
        ),
        ("{% for i in (1..10001) %}{% endfor %}", "its loops go round more than 10000 times"),
        (
            "{% for i in (1..1) %}" * 30 + "{% endfor %}" * 30,
            "it is nested deeper than 20 levels",
        ),
    ],
)
def test_what_goes_too_far_is_told_with_what_is_too_large(source: str, detail: str) -> None:
    assert refused({"text": source}).detail == detail


def test_a_text_that_is_too_long_says_so() -> None:
    error = refused({"text": "{% for i in (1..5000) %}" + "x" * 1000 + "{% endfor %}"})
    assert (error.code, error.detail) == (
        "message_too_large",
        "a text is longer than 1000000 characters",
    )


def test_a_character_that_postgres_cannot_store_is_refused() -> None:
    assert refused({"text": "{{ '%00' | url_decode }}"}).code == "nul_character"


def test_a_template_is_known_by_its_hash() -> None:
    renderer = Renderer()
    renderer.learn("hash", {"text": "first"})
    renderer.learn("hash", {"text": "second"})
    assert renderer.render("hash", {}) == {"text": "first"}


def test_the_template_that_was_not_met_for_longest_is_forgotten() -> None:
    renderer = Renderer()
    renderer.learn("old", {"text": "old"})
    renderer.learn("older", {"text": "older"})
    renderer.learn("old", {"text": "old"})
    for number in range(999):
        renderer.learn(str(number), {"text": "new"})
    assert renderer.render("old", {}) == {"text": "old"}
    with pytest.raises(KeyError):
        renderer.render("older", {})


SECRET = "sesame-7316"
FILTERS = sorted(Environment().filters)
TAGS = [
    *("{{", "}}", "{%", "%}", "{{ i }}", "{{ a.b[c] }}"),
    *("{% if a %}", "{% if a > b %}", "{% endif %}", "{% for i in a %}", "{% endfor %}"),
    *("{% tablerow i in a cols: b %}", "{% endtablerow %}", "{% case a %}{% when b %}"),
    *("{% endcase %}", "{% assign b = a %}", "{% capture c %}", "{% endcapture %}"),
    *("{% increment a %}", "{% cycle a: b, c %}", "{% liquid echo a %}", "{%- raw -%}"),
]
fragments = st.one_of(
    st.text(max_size=20),
    st.sampled_from(TAGS),
    st.builds(
        "{{{{ {} | {}: {}, {} }}}}".format,
        st.sampled_from(["a", "b", "c", "'x'", "1.5", "(1..3)"]),
        st.sampled_from(FILTERS),
        st.sampled_from(["a", "b", "c", "'%00'", "-1", "99999999999"]),
        st.sampled_from(["a", "b", "''", "nil"]),
    ),
    st.builds(
        "{{{{ {} | {} }}}}".format, st.sampled_from(["a", "b", "c"]), st.sampled_from(FILTERS)
    ),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(SECRET) | st.text(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from("abc"), each),
    max_leaves=5,
)


@pytest.mark.slow
@given(
    template=st.dictionaries(
        st.sampled_from(["subject", "html", "text"]),
        st.lists(fragments, max_size=6).map("".join),
        max_size=3,
    ),
    variables=st.dictionaries(st.sampled_from("abc"), values, max_size=3),
)
def test_whatever_is_rendered_gives_a_payload_or_a_render_error_without_values(
    template: dict[str, str], variables: dict[str, Any]
) -> None:
    renderer = Renderer()
    renderer.learn("hash", template)
    try:
        payload = renderer.render("hash", variables, ["subject"])
    except RenderError as error:
        assert SECRET not in error.detail
    else:
        assert payload.keys() == template.keys()
        assert "\0" not in "".join(payload.values())
