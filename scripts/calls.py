"""Who calls whom in `plpgsql/`, as far as the text says: the order of its folders is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.sources import FOLDERS, ROOT, without_comments

_DEFINED = re.compile(r"\bcreate (?:or replace )?function dripdrop\.(\w+)")
_CALLED = re.compile(r"\bdripdrop\.(\w+)\s*\(")
_NAMED = re.compile(r"'(_\w+)'")
"""A function that is called by its name, as `_attempt` and `_halved` do."""
_TEXT = re.compile(r"'(?:[^']|'')*'")


def calls() -> Iterator[tuple[Path, str, Path]]:
    """Yield what a file calls in another: the file, the function, the file that defines it."""
    texts = {
        path: without_comments(path.read_text())
        for path in sorted((ROOT / "plpgsql").glob("*/*.sql"))
    }
    homes = {name: path for path, text in texts.items() for name in _DEFINED.findall(text)}
    for path, text in texts.items():
        for name in sorted({*_CALLED.findall(_TEXT.sub("''", text)), *_NAMED.findall(text)}):
            if homes.get(name, path) != path:
                yield path, name, homes[name]


def folder_calls() -> dict[str, set[str]]:
    """Return which folders a folder calls, itself left out."""
    graph: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for caller, _, callee in calls():
        if caller.parent != callee.parent:
            graph[caller.parent.name].add(callee.parent.name)
    return graph


def diagram() -> str:
    """Return the folders and their calls in Mermaid's words."""
    return drawn(FOLDERS, folder_calls())


def drawn(order: Sequence[str], graph: Mapping[str, set[str]]) -> str:
    """Return a graph, whose nodes stand in an order from the ground up, in Mermaid's words.

    An arrow that another way of arrows stands for as well is left out.
    """
    below: dict[str, set[str]] = {}
    for node in order:
        below[node] = graph[node].union(*(below[each] for each in graph[node]))
    arrows = [
        f"  {node} --> {each}"
        for node in reversed(order)
        for each in sorted(graph[node])
        if not any(each in below[other] for other in graph[node])
    ]
    return "\n".join(["graph TD", *arrows])
