"""The folders of plpgsql/ stand in an order, and call only what stands below them."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from scripts.calls import calls, diagram
from scripts.sources import FOLDERS, ROOT


def test_every_folder_has_its_place() -> None:
    assert sorted(FOLDERS) == sorted(
        each.name for each in (ROOT / "plpgsql").iterdir() if each.is_dir()
    )


def test_a_folder_calls_only_folders_below_it() -> None:
    upwards = [
        f"{caller.parent.name}/{caller.stem} calls {name} of {callee.parent.name}/{callee.stem}"
        for caller, name, callee in calls()
        if FOLDERS.index(caller.parent.name) < FOLDERS.index(callee.parent.name)
    ]
    assert not upwards


def test_what_is_called_by_its_name_is_there() -> None:
    text = "".join(path.read_text() for path in (ROOT / "plpgsql").glob("*/*.sql"))
    named = set(re.findall(r"_(?:attempt|halved)\(\s*'(\w+)'", text))
    assert named
    assert named <= set(re.findall(r"function dripdrop\.(\w+)\(", text))


def test_no_circle_has_more_than_four_files() -> None:
    graph: defaultdict[Path, set[Path]] = defaultdict(set)
    for caller, _, callee in calls():
        graph[caller].add(callee)
    assert max(map(len, circles(graph)), default=0) <= 4


def circles(graph: dict[Path, set[Path]]) -> list[set[Path]]:
    """Return the files that call one another, in groups."""
    reached: dict[Path, set[Path]] = {}
    for start in list(graph):
        seen: set[Path] = set()
        waiting = [start]
        while waiting:
            for each in graph.get(waiting.pop(), set()) - seen:
                seen.add(each)
                waiting.append(each)
        reached[start] = seen
    return [
        {each for each in reached[start] if start in reached.get(each, set())} for start in reached
    ]


def test_circles_are_found() -> None:
    one, two, three = Path("one"), Path("two"), Path("three")
    graph = {one: {two}, two: {one, three}, three: set()}
    assert circles(graph)[:2] == [{one, two}, {one, two}]


def test_the_order_and_the_calls_are_drawn_for_readers() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert " ".join(f"`{folder}`" for folder in FOLDERS) in " ".join(page.split())
    assert diagram() in (ROOT / "docs/reference/calls.md").read_text()
