"""docs/locking.md and the `locks` comments above the functions say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.sources import FOLDERS, ROOT

PAGE = (ROOT / "docs/locking.md").read_text()
ORDER = re.findall(r"\w+", next(line for line in PAGE.splitlines() if " → " in line))
WORDS = {
    "sequence": "sequence",
    "version": "sequence",
    "step": "sequence",
    "hook": "sequence",
    "enrolment": "enrolment",
    "execution": "execution",
    "adapter": "adapter",
    "counter": "counter",
    "suppression": "counter",
    "subscription": "counter",
    "pause": "counter",
    "budget": "counter",
    "setting": "counter",
    "holiday": "counter",
}
"""What the comments name, and where in the order it stands."""

KIND = re.compile(rf"(?<![\w'])({'|'.join(WORDS)})s?(?:'s unique index)?(?![\w'])")


def comments() -> dict[str, str]:
    """Return what each function that has a `locks` comment says it locks."""
    block = re.compile(
        r"^-- locks(?:, raises)? +(.*\n(?:--  +.*\n)*)(?:--.*\n)*"
        r"create or replace function dripdrop\.(\w+)",
        re.MULTILINE,
    )
    return {
        name: " ".join(re.sub(r"^--", "", text, flags=re.MULTILINE).split())
        for folder in FOLDERS
        for path in sorted((ROOT / "plpgsql" / folder).glob("*.sql"))
        for text, name in block.findall(path.read_text())
    }


COMMENTS = comments()


def parts(text: str) -> Iterator[tuple[bool, list[str]]]:
    """Yield what is locked step by step: whether it is waited for, and its kinds."""
    for part in re.split(r"; |,? then ", text):
        for other in re.findall(r"\bas (\w+)\(\)", part):
            yield from parts(COMMENTS[other])
        if not re.search(r"\bholds? the\b", part):
            own = re.sub(r"\b(slot|circuit)s? of [^,]*|with the commit.*", "", part)
            waits = not re.search("skipping|by try|without waiting", part)
            yield waits, [WORDS[word] for word in KIND.findall(own)]


def table() -> dict[str, set[str]]:
    """Return the kinds that the page says each public function locks."""
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE, re.MULTILINE)
    return {
        name: {kind for kind, cell in zip(ORDER, cells.split("|"), strict=True) if cell.strip()}
        for names, cells in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_comments_name_things_in_the_order_of_the_page() -> None:
    assert len(COMMENTS) > 80
    out_of_order = {
        name: text
        for name, text in COMMENTS.items()
        for waited in [[ORDER.index(k) for waits, kinds in parts(text) if waits for k in kinds]]
        if waited != sorted(waited)
    }
    assert out_of_order == {}


def test_the_page_and_the_comments_name_the_same() -> None:
    said = {
        name: {kind for _, kinds in parts(text) for kind in kinds}
        for name, text in COMMENTS.items()
        if not name.startswith("_")
    }
    assert {name for name in said if said[name] != table().get(name)} == set()
    assert said.keys() == table().keys()


def test_the_page_counts_what_it_lists() -> None:
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    counted = re.search(
        r"^(\w+) things are the application's part.*?:\n\n(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL
    )
    assert counted is not None
    listed = re.findall(r"^\* ", counted[2], re.MULTILINE)
    assert counted[1].lower() == numbers[len(listed) - 1]
