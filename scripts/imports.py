"""Who imports whom in `driver/dripdrop/`: the order of its parts is made of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scripts.calls import drawn
from scripts.sources import ROOT

PACKAGE = ROOT / "driver" / "dripdrop"
PARTS = (
    "errors",
    "redaction",
    "mailbox",
    "vault",
    "embedded",
    "arguments",
    "statements",
    "client",
    "dsn",
    "faults",
    "connections",
    "install",
    "unsubscribe",
    "outgoing",
    "templates",
    "documents",
    "channels",
    "hooks",
    "process",
    "daemon",
    "web",
    "bench",
    "demo",
    "cli",
)
"""The parts of the driver from the ground up: each imports only those before it."""
DOORS = ("__init__", "__main__")
"""What nothing of the driver imports."""


def part_of(module: Path) -> str:
    """Return the part that a module is, or belongs to."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports() -> tuple[tuple[Path, Path], ...]:
    """Return which module imports which other one."""
    modules = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    return tuple(
        (path, modules[name])
        for path in modules.values()
        for name in sorted(set(_imported(path, modules)))
        if modules[name] != path
    )


def part_imports() -> dict[str, set[str]]:
    """Return which parts a part imports, itself left out."""
    graph: dict[str, set[str]] = {part: set() for part in (*PARTS, *DOORS)}
    for importer, imported in imports():
        if part_of(importer) != part_of(imported):
            graph[part_of(importer)].add(part_of(imported))
    return graph


def diagram() -> str:
    """Return the parts and their imports in Mermaid's words."""
    return drawn(PARTS, part_imports())


def _name(module: Path) -> str:
    return ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
        ".__init__"
    )


def _imported(module: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a module imports, wherever it does so."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            for each in node.names:
                name = f"{node.module}.{each.name}"
                yield name if name in modules else node.module
