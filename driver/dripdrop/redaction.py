"""Taking out of a text what must not be written down.

A server may repeat what it was sent, and in the form of its choice. `without()` takes out secrets
that are known, in every spelling that a reply has: as they are, escaped for JSON, URLs, HTML or
mail, in hexadecimal, and in base64, also as a part of something longer such as ``user:password``.
`without_people()` takes out what looks like somebody's address or number, or like base64 of a text:
the last thing that happens to a line of the log.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from html.entities import codepoint2name
from math import ceil

REDACTED = "[redacted]"
"""What stands where something was taken out."""

_LONG = 128  # a longer secret is looked for in parts
_SHORT = 4  # a shorter secret counts as a whole word only: else it would be a part of many
_CORE = 6  # so many characters of base64 or hexadecimal are no accident
_SOFT_BREAK = r"(?:=\r?\n)?"  # of quoted-printable
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")

_TO_STANDARD = str.maketrans("-_", "+/")

_AT = r"(?:@|\uff20|%40|=40|\+40|&#0*64;|&#x0*40;|&commat;|\\u0040|\\x40)"
_PART = r"[^\s<>,;()\"\[\]]"
_ADDRESS = re.compile(
    rf"(?:\"[^\"\n]{{1,128}}\"|{_PART}{{1,256}}?){_AT}(?:\[[^\]\s]{{1,64}}\]|{_PART}{{1,256}})",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?<![\w.:/-])(?:\+\d[\d ().-]{5,20}\d|\(?\d(?:[ ()-]{0,2}\d){8,14})(?![.:/-]?\w)"
)
_TOKEN = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text without the secrets, however they are spelled."""
    for secret in sorted({*_pieces(secrets)}, key=len, reverse=True):
        spelled, encoded = _patterns(secret)
        text = spelled.sub(REDACTED, text)
        if encoded is not None:
            text = _without_tokens(text, encoded)
    return text


def without_people(text: str) -> str:
    """Return a text without addresses, numbers, and what base64 hides."""
    text = _TOKEN.sub(lambda token: REDACTED if _hides_text(token[0]) else token[0], text)
    return _NUMBER.sub(REDACTED, _ADDRESS.sub(REDACTED, text))


def strings(value: object) -> Iterator[str]:
    """Yield every string in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)


def _pieces(secrets: Iterable[str]) -> Iterator[str]:
    """Yield what is looked for: a secret in parts, and of one with several lines each long line."""
    for secret in filter(None, map(str.strip, secrets)):
        size = ceil(len(secret) / ceil(len(secret) / _LONG))
        yield from (secret[at : at + size] for at in range(0, len(secret), size))
        yield from (line for line in secret.split() if 16 < len(line) < _LONG)


@lru_cache(maxsize=512)
def _patterns(secret: str) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
    """Return the pattern of a secret that is spelled out, and of one within base64 or so."""
    spelled = _SOFT_BREAK.join(_character(each) for each in secret)
    if len(secret) < _SHORT:
        spelled = rf"(?<!\w){spelled}(?!\w)"
    raw = secret.encode(errors="replace")
    cores = {_either_alphabet(core) for core in _base64_cores(raw) if len(core) >= _CORE}
    if len(raw) * 2 >= _CORE:
        cores.add(f"(?i:{raw.hex()})")
    return re.compile(spelled), re.compile("|".join(cores)) if cores else None


def _character(character: str) -> str:
    """Return a pattern of every way to write a character, in upper or lower case."""
    code, octets = ord(character), character.encode(errors="replace")
    units = zip(*[iter(character.encode("utf-16-be", "replace"))] * 2, strict=True)
    cases = {each for each in (character, character.lower(), character.upper()) if len(each) == 1}
    itself = "|".join(map(re.escape, sorted(cases)))
    ways = [
        rf"\\?(?:{itself})",
        _either_case(f"&#x0*{code:x};"),
        f"&#0*{code};",
        _either_case("".join(f"%{octet:02x}" for octet in octets)),
        _SOFT_BREAK.join(_either_case(f"={octet:02x}") for octet in octets),
        _either_case("".join(rf"\\x{octet:02x}" for octet in octets)),
        _either_case("".join(rf"\\u{high:02x}{low:02x}" for high, low in units)),
    ]
    if code in codepoint2name:
        ways.append(f"&{codepoint2name[code]};")
    if character == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _either_case(pattern: str) -> str:
    """Return a pattern whose ASCII letters are of either case; `re.IGNORECASE` misses some."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", pattern)


def _base64_cores(raw: bytes) -> Iterator[str]:
    """Yield what base64 has of these bytes at each offset, whatever stands before and after."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + raw).decode()
        start = (0, 2, 3)[offset]
        end = len(encoded) - (0, 3, 2)[(offset + len(raw)) % 3]
        yield encoded[start:end]


def _either_alphabet(core: str) -> str:
    return re.escape(core).replace(r"\+", "[+-]").replace("/", "[/_]")


def _without_tokens(text: str, core: re.Pattern[str]) -> str:
    """Take out whatever is around a core, as far as the alphabet goes."""
    parts, position = [], 0
    for found in core.finditer(text):
        if found.start() < position:
            continue
        start, end = found.span()
        while start > position and text[start - 1] in _BASE64:
            start -= 1
        while end < len(text) and text[end] in _BASE64:
            end += 1
        parts += [text[position:start], REDACTED]
        position = end
    return "".join([*parts, text[position:]])


def _hides_text(token: str) -> bool:
    """Whether a word is base64 of a text: words of a language hardly ever are."""
    if len(token) < 16 and not re.search(r"[0-9A-Z=]", token):
        return False
    bare = token.rstrip("=").translate(_TO_STANDARD)
    try:
        text = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return False
    return all(each.isprintable() or each in "\0\r\n\t" for each in text)
