from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from dripdrop.vault import (
    Kind,
    Vault,
    VaultError,
    check_name,
    from_text,
    generate_key,
    to_text,
)

CREDENTIALS = {"api_key": "server-token", "port": 587, "from": "Zoë <zoe@example.com>"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def vault() -> Vault:
    return Vault(generate_key())


@settings(max_examples=50, deadline=None)
@given(
    credentials=st.dictionaries(st.text(), json_values, max_size=5),
    tenant_key=st.none() | st.text(),
    name=st.text(),
)
def test_what_was_sealed_opens_unchanged(
    credentials: dict[str, object], tenant_key: str | None, name: str
) -> None:
    vault = Vault(generate_key())
    assert vault.open(vault.seal(credentials, tenant_key, name), tenant_key, name) == credentials


def test_an_envelope_shows_nothing_of_the_credentials(vault: Vault) -> None:
    assert b"server-token" not in vault.seal(CREDENTIALS, "acme", "mail")


def test_sealing_twice_gives_two_envelopes(vault: Vault) -> None:
    assert vault.seal(CREDENTIALS, "acme", "mail") != vault.seal(CREDENTIALS, "acme", "mail")


def test_the_header_is_a_version_a_key_id_and_a_nonce(vault: Vault) -> None:
    first, second = vault.seal({}, None, "mail"), vault.seal({}, None, "mail")
    assert first[:1] == b"\x01"
    assert first[1:5] == second[1:5]
    assert first[5:17] != second[5:17]
    assert len(first) == 17 + len(b"{}") + 16


def test_flipping_any_bit_is_noticed(vault: Vault) -> None:
    envelope = vault.seal(CREDENTIALS, "acme", "mail")
    for position in range(len(envelope)):
        changed = bytearray(envelope)
        changed[position] ^= 1
        with pytest.raises(VaultError):
            vault.open(bytes(changed), "acme", "mail")


@pytest.mark.parametrize("length", [0, 1, 16, 32])
def test_a_truncated_envelope_is_refused(vault: Vault, length: int) -> None:
    with pytest.raises(VaultError):
        vault.open(vault.seal(CREDENTIALS, "acme", "mail")[:length], "acme", "mail")


@pytest.mark.parametrize(
    ("tenant_key", "name"),
    [("other", "mail"), ("acme", "other"), (None, "mail"), ("", "mail"), ("acmem", "ail")],
)
def test_an_envelope_opens_only_for_its_own_adapter(
    vault: Vault, tenant_key: str | None, name: str
) -> None:
    envelope = vault.seal(CREDENTIALS, "acme", "mail")
    with pytest.raises(VaultError, match="another adapter or tenant"):
        vault.open(envelope, tenant_key, name)


def test_the_null_tenant_is_not_the_tenant_called_null(vault: Vault) -> None:
    envelope = vault.seal(CREDENTIALS, None, "mail")
    assert vault.open(envelope, None, "mail") == CREDENTIALS
    with pytest.raises(VaultError):
        vault.open(envelope, "null", "mail")


def test_an_older_key_still_opens() -> None:
    old, new = generate_key(), generate_key()
    envelope = Vault(old).seal(CREDENTIALS, "acme", "mail")
    assert Vault(new, [old]).open(envelope, "acme", "mail") == CREDENTIALS


def test_resealing_moves_an_envelope_to_the_current_key() -> None:
    old, new = generate_key(), generate_key()
    envelope = Vault(old).seal(CREDENTIALS, "acme", "mail")
    resealed = Vault(new, [old]).reseal(envelope, "acme", "mail")
    assert resealed is not None
    assert Vault(new).open(resealed, "acme", "mail") == CREDENTIALS


def test_resealing_leaves_a_current_envelope_alone(vault: Vault) -> None:
    assert vault.reseal(vault.seal(CREDENTIALS, "acme", "mail"), "acme", "mail") is None


HOOK = "hook:onboarding:score"


def sealed_before_kinds(key: str, tenant_key: str | None, name: str) -> bytes:
    """Seal as it was done before envelopes were bound to a kind."""
    raw = base64.b64decode(key)
    header = b"\x01" + hashlib.sha256(raw).digest()[:4] + bytes(12)
    bound_to = json.dumps([tenant_key, name]).encode()
    return header + AESGCM(raw).encrypt(header[5:], json.dumps(CREDENTIALS).encode(), bound_to)


def test_the_envelope_of_a_hook_opens_for_no_adapter_of_its_name(vault: Vault) -> None:
    envelope = vault.seal(CREDENTIALS, "acme", HOOK, "http_hook")
    assert vault.open(envelope, "acme", HOOK, "http_hook") == CREDENTIALS
    with pytest.raises(VaultError, match="another adapter or tenant"):
        vault.open(envelope, "acme", HOOK, "adapter")


def test_the_envelope_of_an_adapter_opens_for_no_hook_of_its_name(vault: Vault) -> None:
    envelope = vault.seal(CREDENTIALS, "acme", HOOK, "adapter")
    assert vault.open(envelope, "acme", HOOK, "adapter") == CREDENTIALS
    with pytest.raises(VaultError):
        vault.open(envelope, "acme", HOOK, "http_hook")


def test_the_old_envelope_of_a_hook_opens_for_no_adapter_of_its_name() -> None:
    key = generate_key()
    with pytest.raises(VaultError):
        Vault(key).open(sealed_before_kinds(key, "acme", HOOK), "acme", HOOK, "adapter")


def test_a_name_says_whose_envelope_it_is(vault: Vault) -> None:
    for name, kind in (("mail", "adapter"), (HOOK, "http_hook")):
        envelope = vault.seal(CREDENTIALS, "acme", name)
        assert vault.open(envelope, "acme", name, kind) == CREDENTIALS  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kind"), [("mail", "adapter"), (HOOK, "http_hook")])
@pytest.mark.parametrize("tenant_key", [None, "acme"])
def test_an_envelope_from_before_kinds_still_opens_and_is_brought_to_the_new_form(
    name: str, kind: Kind, tenant_key: str | None
) -> None:
    key = generate_key()
    vault = Vault(key)
    old = sealed_before_kinds(key, tenant_key, name)
    assert vault.open(old, tenant_key, name, kind) == CREDENTIALS
    new = vault.reseal(old, tenant_key, name, kind)
    assert new is not None
    assert vault.open(new, tenant_key, name, kind) == CREDENTIALS
    assert vault.reseal(new, tenant_key, name, kind) is None
    header, bound_to = new[:17], json.dumps([kind, tenant_key, name]).encode()
    AESGCM(base64.b64decode(key)).decrypt(header[5:], new[17:], bound_to)


@pytest.mark.parametrize("name", ["mail", "Zoë's mail", "m" * 200, HOOK, "é" * 100])
def test_a_name_that_will_do(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "m" * 201, "é" * 101, "a:b", ":", "a\nb", "a\x00b", "a\x7f", "a\x85", "a\ud800"),
        *(
            "hook:",
            "hook:a",
            "hook::",
            "hook:a:",
            "hook::b",
            "hook:a:b:c",
            "hook:a\n:b",
            "A:b",
        ),
    ],
)
def test_a_name_that_will_not_do(name: str) -> None:
    with pytest.raises(VaultError, match="name"):
        check_name(name)


def test_an_unknown_key_is_an_error_that_names_both_variables(vault: Vault) -> None:
    envelope = Vault(generate_key()).seal(CREDENTIALS, "acme", "mail")
    with pytest.raises(VaultError, match=r"DRIPDROP_ENCRYPTION_KEY .*DRIPDROP_ENCRYPTION_KEYS_OLD"):
        vault.open(envelope, "acme", "mail")


def test_the_text_form_is_base64_on_one_line(vault: Vault) -> None:
    envelope = vault.seal(CREDENTIALS, "acme", "mail")
    text = to_text(envelope)
    assert base64.b64decode(text, validate=True) == envelope
    assert from_text(f"{text}\n") == envelope


def test_text_that_is_no_envelope_is_refused() -> None:
    with pytest.raises(VaultError):
        from_text("server-token!")


def test_the_environment_holds_the_current_and_the_older_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, older, new = generate_key(), generate_key(), generate_key()
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEY", new)
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEYS_OLD", f"{old}, {older}")
    for key in (old, older, new):
        envelope = Vault(key).seal(CREDENTIALS, None, "mail")
        assert Vault.from_environment().open(envelope, None, "mail") == CREDENTIALS


def test_a_missing_key_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DRIPDROP_ENCRYPTION_KEY", raising=False)
    with pytest.raises(VaultError, match="DRIPDROP_ENCRYPTION_KEY is not set"):
        Vault.from_environment()


@pytest.mark.parametrize(
    "key", ["not base64 at all", "c2hvcnQ=", base64.b64encode(b"x" * 33).decode()]
)
def test_a_malformed_key_is_an_error_that_never_shows_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEY", key)
    with pytest.raises(VaultError, match="DRIPDROP_ENCRYPTION_KEY") as error:
        Vault.from_environment()
    assert key not in str(error.value)


def test_a_malformed_older_key_names_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEY", generate_key())
    monkeypatch.setenv("DRIPDROP_ENCRYPTION_KEYS_OLD", "c2hvcnQ=")
    with pytest.raises(VaultError, match="DRIPDROP_ENCRYPTION_KEYS_OLD"):
        Vault.from_environment()
