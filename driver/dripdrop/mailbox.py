"""A mailbox, read as people write it and written as RFC 5322 section 3.4 wants it.

`Acme, Inc. <hello@acme.example>` is one mailbox to whoever writes it, and a list of two to the RFC.
Here a name ends where the last angle bracket opens, whatever it has in it. What a template puts in
is marked, see `marked()`: its quotes, backslashes and brackets are part of a name and no syntax.
Standard library only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # noncharacters: never part of a text that is interchanged
_MARKS = str.maketrans("", "", _OPEN + _CLOSE)
_SPECIALS = re.compile(r'[()<>\[\]:;@\\,."]|  ')
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Mailbox(NamedTuple):
    """A name, which may be empty, and an address, which nobody has checked."""

    name: str
    address: str

    def __str__(self) -> str:
        """Return it with its name quoted where it has to be."""
        if not self.name:
            return self.address
        if not _SPECIALS.search(self.name):
            return f"{self.name} <{self.address}>"
        quoted = self.name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{self.address}>'


def marked(value: str) -> str:
    """Return a value so that `read_mailbox()` knows it from what stands around it."""
    return _OPEN + value.translate(_MARKS) + _CLOSE


def on_one_line(text: str) -> str:
    """Return a text with a blank for each run of line breaks and control characters."""
    return _CONTROLS.sub(" ", text)


def read_mailbox(text: str) -> Mailbox | None:
    """Return the mailbox that a text is, None if it is more than one.

    Without an angle bracket outside of what is marked, the marks mean nothing: the value is the
    whole mailbox.
    """
    characters = _characters(on_one_line(text))
    opening = max((n for n, each in enumerate(characters) if each == ("<", False)), default=None)
    if opening is None:
        characters = [(character, False) for character, _ in characters]
        opening = max((n for n, each in enumerate(characters) if each[0] == "<"), default=None)
    whole = "".join(character for character, _ in characters).strip()
    if opening is None or not whole.endswith(">"):
        return Mailbox("", whole)
    name = _phrase(characters[:opening])
    address = "".join(character for character, _ in characters[opening + 1 :])
    return None if name is None else Mailbox(name, address.strip()[:-1].strip())


def _characters(text: str) -> list[tuple[str, bool]]:
    """Return the characters without the marks, and whether each one was within them."""
    characters = []
    within = False
    for character in text:
        if character in (_OPEN, _CLOSE):
            within = character == _OPEN
        else:
            characters.append((character, within))
    return characters


def _phrase(characters: list[tuple[str, bool]]) -> str | None:
    """Return what a display name says, None if it has another address in it."""
    name = []
    quoted = escaped = False
    for character, literal in characters:
        if literal or escaped:
            name.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character in "<>" and not quoted:
            return None
        else:
            name.append(character)
    return "".join(name).strip()
