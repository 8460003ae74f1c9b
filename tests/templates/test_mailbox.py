"""The sender's name may hold anything, and is always one name."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripdrop.channels.mime import Email
from dripdrop.mailbox import Mailbox, read_mailbox
from dripdrop.templates import Renderer
from tests.channels.conftest import message

ADDRESS = "hello@acme.example"
WAYS = {
    "quoted": f'"{{{{ company }}}}" <{ADDRESS}>',
    "unquoted": f"{{{{ company }}}} <{ADDRESS}>",
    "echoed": f'"{{% echo company %}}" <{ADDRESS}>',
    "captured": f'{{% capture c %}}{{{{ company }}}}{{% endcapture %}}"{{{{ c }}}}" <{ADDRESS}>',
    "assigned": f"{{% assign c = company | append: '' %}}{{{{ c }}}} <{ADDRESS}>",
}

names = st.text(
    st.sampled_from("\"\\,;:()<>@[].'& aé漢\U0001f600")
    | st.characters(exclude_categories=("C", "Z")),
    min_size=1,
    max_size=40,
).map(str.strip)


def rendered(source: str, field: str = "from", **variables: str) -> Email:
    """Return the e-mail that a template with such a sender makes."""
    renderer = Renderer()
    renderer.learn("hash", {"subject": "Hi", "text": "Hi", "from": ADDRESS, field: source})
    return Email.read(message(renderer.render("hash", variables, ["from", "reply_to"])), None)


@pytest.mark.parametrize("source", WAYS.values(), ids=WAYS)
@given(name=names)
@example(name='Acme "Best", Inc.')
@example(name="O\\'Neil (EU) <eve@evil.example>")
@example(name='"')
@example(name="\\")
@example(name='" <eve@evil.example>')
def test_whatever_a_value_holds_is_the_name_of_one_sender(source: str, name: str) -> None:
    sender = rendered(source, company=name).sender
    assert (sender.display_name, sender.addr_spec) == (name, ADDRESS)


def test_a_reply_address_is_written_like_a_sender() -> None:
    reply_to = rendered(WAYS["quoted"], "reply_to", company='"A", B').reply_to
    assert reply_to is not None
    assert (reply_to.display_name, reply_to.addr_spec) == ('"A", B', ADDRESS)


@pytest.mark.parametrize("whole", ['"Acme, \\"EU\\"" <a@b.example>', 'Acme, "EU" <a@b.example>'])
def test_a_value_may_be_the_whole_sender(whole: str) -> None:
    sender = rendered("{{ sender }}", sender=whole).sender
    assert sender.addr_spec == "a@b.example"
    assert sender.display_name.startswith("Acme, ")


def test_a_missing_name_leaves_the_address() -> None:
    assert rendered(WAYS["quoted"]).sender.display_name == ""


def test_an_address_may_be_a_value() -> None:
    sender = rendered('"{{ a }}" <{{ b }}>', a="Acme, Inc", b="x@y.example").sender
    assert (sender.display_name, sender.addr_spec) == ("Acme, Inc", "x@y.example")


def test_a_field_that_is_no_mailbox_is_no_sender_to_write() -> None:
    renderer = Renderer()
    renderer.learn("hash", {"from": "{{ n }} <x>", "body": {"from": "{{ n }} <y>"}})
    payload = renderer.render("hash", {"n": '"a"'})
    assert payload == {"from": '"a" <x>', "body": {"from": '"a" <y>'}}


@pytest.mark.slow
@given(name=names, address=st.emails())
def test_what_is_written_is_read_again(name: str, address: str) -> None:
    if "<" not in address and ">" not in address:
        assert read_mailbox(str(Mailbox(name, address))) == Mailbox(name, address)
