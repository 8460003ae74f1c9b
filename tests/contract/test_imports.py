"""The parts of the driver stand in an order, and import only what stands below them."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from scripts.imports import DOORS, PACKAGE, PARTS, diagram, imports, part_of
from scripts.sources import ROOT
from tests.contract.test_folders import circles


def test_every_part_has_its_place() -> None:
    modules = {part_of(path) for path in PACKAGE.rglob("*.py")}
    assert sorted(modules) == sorted((*PARTS, *DOORS))


def test_a_part_imports_only_parts_below_it() -> None:
    order = (*PARTS, *DOORS)
    upwards = [
        f"{importer.relative_to(PACKAGE)} imports {imported.relative_to(PACKAGE)}"
        for importer, imported in imports()
        if order.index(part_of(importer)) < order.index(part_of(imported))
    ]
    assert not upwards


def test_no_modules_import_one_another() -> None:
    graph: defaultdict[Path, set[Path]] = defaultdict(set)
    for importer, imported in imports():
        graph[importer].add(imported)
    assert not any(circles(graph))


def test_imports_are_found_wherever_they_stand() -> None:
    found = {
        (str(one.relative_to(PACKAGE)), str(other.relative_to(PACKAGE))) for one, other in imports()
    }
    assert {
        ("client.py", "errors.py"),
        ("cli/bench.py", "bench/pipeline.py"),
        ("cli/work.py", "daemon/run.py"),
        ("daemon/stage.py", "daemon/desk.py"),
    } <= found


def test_the_order_and_the_imports_are_drawn_for_readers() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert " ".join(f"`{part}`" for part in PARTS) in " ".join(page.split())
    assert diagram() in (ROOT / "docs/reference/calls.md").read_text()
