"""What stands in a link: nothing that can be read or made up."""

from __future__ import annotations

import base64
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from dripdrop import Vault
from dripdrop.unsubscribe import InvalidToken, Ticket, Tokens, web_key
from dripdrop.vault import VaultError, generate_key

KEY, OTHER_KEY = generate_key(), generate_key()
TOKENS = Tokens(Vault(KEY))

tickets = st.builds(
    Ticket,
    tenant_key=st.none() | st.text(min_size=1, max_size=40).filter(lambda key: key.isprintable()),
    execution_id=st.uuids(),
    channel=st.sampled_from(["email", "sms"]),
    recipient=st.text(max_size=254).filter(str.isprintable),
    topic=st.none() | st.text(min_size=1, max_size=40).filter(str.isprintable),
)


def ticket(execution_id: UUID | None = None, tenant_key: str | None = "acme") -> Ticket:
    return Ticket(tenant_key, execution_id or uuid4(), "email", "sam@example.com", "news")


@given(tickets)
def test_a_token_says_what_was_written(written: Ticket) -> None:
    assert TOKENS.read(TOKENS.write(written)) == written


def test_a_token_is_fit_for_a_path() -> None:
    assert all(each.isalnum() or each in "-_" for each in TOKENS.write(ticket()))


def test_nothing_can_be_read_in_a_token() -> None:
    written = ticket()
    token = TOKENS.write(written)
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for known in (b"acme", written.execution_id.bytes, b"sam@example.com", b"news"):
        assert known not in content


def test_a_message_always_gets_the_same_token() -> None:
    written = ticket()
    assert Tokens(Vault(KEY)).write(written) == TOKENS.write(written)


def test_the_web_key_reads_what_the_vault_wrote_and_is_not_its_key() -> None:
    vault = Vault(KEY, [OTHER_KEY])
    text = web_key(vault)
    keys = [base64.b64decode(each) for each in text.split(",")]
    tokens = Tokens(keys)
    for writer in (vault, Vault(OTHER_KEY)):
        written = ticket()
        assert tokens.read(Tokens(writer).write(written)) == written
    for each in (KEY, OTHER_KEY):
        assert all(base64.b64decode(each) not in key for key in keys)


def test_the_web_key_opens_no_credentials() -> None:
    envelope = Vault(KEY).seal({"password": "hunter2"}, None, "mail")
    for key in web_key(Vault(KEY)).split(","):
        with pytest.raises(VaultError):
            Vault(key)
        for part in (base64.b64decode(key)[:32], base64.b64decode(key)[32:]):
            with pytest.raises(VaultError):
                Vault(base64.b64encode(part).decode()).open(envelope, None, "mail")


def test_with_a_web_key_the_masters_key_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIPDROP_WEB_KEY", web_key(Vault(KEY)))
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEY", "malformed")
    written = ticket()
    assert Tokens.from_environment().read(TOKENS.write(written)) == written


@pytest.mark.parametrize(
    "text",
    ["not base64 at all", "c2hvcnQ=", KEY, ",", web_key(Vault(KEY)) + ","],
    ids=["words", "short", "another key", "a comma", "a comma at the end"],
)
def test_a_malformed_web_key_is_an_error_that_never_shows_it(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DRIPDROP_WEB_KEY", text)
    with pytest.raises(VaultError, match="DRIPDROP_WEB_KEY") as error:
        Tokens.from_environment()
    assert len(text) < 5 or text.strip(",") not in str(error.value)


def test_tokens_of_two_messages_have_nothing_in_common() -> None:
    first, second = (TOKENS.write(ticket(UUID(int=number))) for number in (1, 2))
    same = sum(one == other for one, other in zip(first, second, strict=True))
    assert same < len(first) / 4


@pytest.mark.parametrize("place", range(0, 58, 3))
def test_a_token_that_was_changed_is_refused(place: int) -> None:
    token = TOKENS.write(ticket())
    changed = token[:place] + ("B" if token[place] == "A" else "A") + token[place + 1 :]
    with pytest.raises(InvalidToken):
        TOKENS.read(changed)


@pytest.mark.parametrize(
    "token", ["", "A", "AAAA", "A" * 64, "A" * 5000, "ü" * 64, "=" * 64, "../u", "A" * 63 + "\0"]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(token)


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidToken):
        TOKENS.read(Tokens(Vault(OTHER_KEY)).write(ticket()))


def test_a_token_of_an_older_key_still_works() -> None:
    written = ticket()
    rotated = Tokens(Vault(OTHER_KEY, [KEY]))
    assert rotated.read(TOKENS.write(written)) == written
    assert rotated.write(written) != TOKENS.write(written)


def test_a_token_of_the_first_form_names_its_message() -> None:
    """A time in eight bytes, the execution, the tenant."""
    (key,) = Vault(KEY).derived_keys("dripdrop unsubscribe 1", 64)
    execution_id = uuid4()
    for tenant_key in ("acme", None):
        content = (1_700_000_000).to_bytes(8, "big") + execution_id.bytes
        sealed = AESSIV(key).encrypt(content + (tenant_key or "").encode(), None)
        token = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
        assert TOKENS.read(token) == Ticket(tenant_key, execution_id)


def test_a_key_for_links_opens_no_credentials() -> None:
    vault = Vault(KEY)
    assert vault.derived_keys("dripdrop unsubscribe 1", 32) != [base64.b64decode(KEY)]
    assert vault.derived_keys("a", 32) != vault.derived_keys("b", 32)
