"""Sequence documents as files: YAML or JSON, with a place in the file for every value.

YAML is read by its 1.2 core schema: only `true` and `false` are booleans, only `null` and `~` are
null, and a date or a time of day is a text. A file may hold several documents.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import yaml

from dripdrop.templates.liquid import (
    Part,
    TemplateFault,
    body_part,
    template_faults,
    template_variables,
)

ENGINE_VARIABLES = frozenset({
    "subscriber", "subscriber_type", "subscriber_id", "enrollment_id", "tenant_key",
    "sequence_key", "step_key", "now_iso8601", "event", "unsubscribe_url",
})  # fmt: skip
"""What templates may use without anybody's doing; `dripdrop.template_variables()` has them, too."""

_NOTHING: Mapping[str, str] = MappingProxyType({})

_OF_PREDICATES = {
    "hooks": "a template names a hook by its key alone",
    "steps": "only predicates know what became of other steps",
}
"""Variables of predicates, and what holds in templates."""

Path: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of mappings and indexes of lists."""


class Place(NamedTuple):
    """Where something stands: its line and column, from 1, and how many characters it has."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True)
class Fault:
    """What is wrong, and where: `path` as the database writes it, such as `steps[2].timing`."""

    file: str
    place: Place
    path: str
    message: str
    hint: str | None = None
    source: str = ""
    """The line of the file that `place` is on."""

    @property
    def where(self) -> str:
        """File, line and column, as compilers write them."""
        return f"{self.file}:{self.place.line}:{self.place.column}"


class UnreadableFile(Exception):
    """A file cannot be read, or is no text."""


class DocumentError(Exception):
    """A file holds faults."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        """Take the faults, in the order in which they stand."""
        super().__init__(
            "\n".join(f"{each.file}:{each.place.line}: {each.message}" for each in faults)
        )
        self.faults = faults


@dataclass
class Document:
    """One document of a file, and where its values stand."""

    file: str
    lines: Sequence[str]
    value: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    scalars: dict[Path, yaml.ScalarNode] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The sequence's key, as far as there is one."""
        return str(self.value.get("key") or "") if isinstance(self.value, Mapping) else ""

    def fault(self, path: str | Path, message: str, hint: str | None = None) -> Fault:
        """Return a fault at a path, or at what is nearest to it in the document."""
        way = path if isinstance(path, tuple) else _parsed(path)
        while way and way not in self.places:
            way = way[:-1]
        written = _written(path) if isinstance(path, tuple) else path
        return self._fault(self.places.get(way, Place(1, 1)), written, message, hint)

    def template_faults(self) -> list[Fault]:
        """List the Liquid templates that do not parse, of steps and of hooks."""
        return [
            self._in_template((*path, *each.path), each)
            for path, template, part in self._templates()
            for each in template_faults(template, part)
        ]

    def variables_of_data(self) -> list[str]:
        """List the variables that only the data of those enrolled can hold."""
        return sorted(set(self._variables().total) - ENGINE_VARIABLES - self._hooks())

    def doubtful_variables(self, provided: Mapping[str, str] = _NOTHING) -> list[Fault]:
        """List variables that probably print nothing.

        Known is what the engine sets, what a hook answers and what a database says is `provided`,
        with its source. Doubtful is what looks like a name that is known, that is used oftener, or
        that has the same letters; and where people are enrolled, what nobody's data holds.
        """
        used = self._variables()
        known = ENGINE_VARIABLES | self._hooks() | provided.keys()
        doubts = []
        for path, names in used.by_path.items():
            for name in sorted(set(names) - known):
                oftener = {
                    each
                    for each, times in used.total.items()
                    if times + (sorted(each) == sorted(name)) > used.total[name]
                }
                near = get_close_matches(name, sorted((known | oftener) - {name}), 1, 0.74)
                if near:
                    doubt = f'is "{near[0]}" meant?'
                elif name in _OF_PREDICATES:
                    doubt = _OF_PREDICATES[name]
                elif "data" in provided.values():
                    doubt = "nobody enrolled has it in their data"
                else:
                    continue
                doubts.append(self.fault(path, f'variable "{name}": {doubt}'))
        return doubts

    def _variables(self) -> _Used:
        by_path = {path: template_variables(template) for path, template, _ in self._templates()}
        return _Used(by_path, sum(by_path.values(), Counter[str]()))

    def _hooks(self) -> set[str]:
        return {str(hook.get("key")) for _, hook in _items(self.value, "hooks")}

    def _templates(self) -> Iterator[tuple[Path, Any, Part]]:
        for place, step in _items(self.value, "steps"):
            yield ("steps", place, "template"), step.get("template"), "message"
        for place, hook in _items(self.value, "hooks"):
            headers = hook.get("headers")
            part = body_part(headers if isinstance(headers, Mapping) else {})
            yield ("hooks", place, "url"), hook.get("url"), "url"
            yield ("hooks", place, "body_template"), hook.get("body_template"), part

    def _in_template(self, path: Path, fault: TemplateFault) -> Fault:
        """Return the fault where the line of the template stands in the file, if it is there."""
        node = self.scalars.get(path)
        if node is not None and fault.line is not None:
            first = node.start_mark.line
            if node.style == "|":
                first = last = first + fault.line
            else:
                last = min(node.end_mark.line, len(self.lines) - 1)
            line_of_template = node.value.splitlines()[fault.line - 1].rstrip()
            for number in range(first, last + 1):
                start = node.start_mark.column if number == node.start_mark.line else 0
                found = self.lines[number].find(line_of_template, start)
                if found >= 0:
                    place = Place(number + 1, found + fault.column + 1, fault.width)
                    return self._fault(place, _written(path), fault.message)
        return self.fault(path, fault.message)

    def _fault(self, place: Place, path: str, message: str, hint: str | None = None) -> Fault:
        source = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        return Fault(self.file, place, path, message, hint, source)


class _Used(NamedTuple):
    """How often templates use which variables."""

    by_path: Mapping[Path, Counter[str]]
    total: Counter[str]


def read(text: str, file: str) -> list[Document]:
    """Return the documents of a text, which is YAML or JSON; `file` is what its faults call it.

    Raises:
        DocumentError: the text does not parse, or a document in it is not a sequence's.
    """
    documents = list(_documents(text, file))
    if not documents:
        raise DocumentError([Document(file, text.splitlines()).fault((), "the file is empty")])
    faults: list[Fault] = []
    seen: set[str] = set()
    for each in documents:
        if not isinstance(each.value, Mapping):
            faults.append(
                each.fault((), "the document is not a mapping", "Begin with key, name and steps.")
            )
        elif each.key in seen:
            faults.append(each.fault("key", f'sequence "{each.key}" stands in this file already'))
        seen.add(each.key)
    if faults:
        raise DocumentError(faults)
    return documents


def _documents(text: str, file: str) -> Iterator[Document]:
    lines = text.split("\n")
    try:
        # JSON is YAML, but for the tabs that may indent it.
        json.loads(text, parse_constant=_no_number)
        text = text.replace("\t", " ")
    except ValueError as error:
        if file.endswith(".json"):
            raise _syntax_error(file, lines, error) from None
    try:
        for node in yaml.compose_all(text, _Core):
            document = Document(file, lines)
            document.value = _Builder(document).build(node, ())
            if document.value is not None:
                yield document
    except (yaml.YAMLError, RecursionError) as error:
        raise _syntax_error(file, lines, error) from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _syntax_error(file: str, lines: Sequence[str], error: Exception) -> DocumentError:
    line, column, message = 0, 0, str(error)
    if isinstance(error, json.JSONDecodeError):
        line, column, message = error.lineno - 1, error.colno - 1, error.msg
    elif isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            line, column = mark.line, mark.column
        message = ", ".join(each for each in (error.context, error.problem) if each)
    elif isinstance(error, yaml.reader.ReaderError):
        before = "\n".join(lines)[: error.position]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        message = f"{error.reason}: #x{error.character:04x}"
    elif isinstance(error, RecursionError):
        message = "nested too deeply"
    source = lines[line] if line < len(lines) else ""
    return DocumentError([Fault(file, Place(line + 1, column + 1), "", message, None, source)])


class _Core(yaml.BaseLoader):
    """Resolves plain scalars by the core schema of YAML 1.2, section 10.3.2.

    Infinity and not-a-number, which JSON does not have, stay texts.
    """


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
):
    _Core.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )


class _Builder:
    """Makes the value of a node, and notes in a document where its parts stand."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: list[yaml.Node] = []

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._document.places.setdefault(path, _span(node))
        if any(node is each for each in self._open):
            raise _refusal(node, "the alias stands inside what it names")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag.endswith(":map"):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag.endswith(":seq"):
                return [self.build(each, (*path, at)) for at, each in enumerate(node.value)]
            if isinstance(node, yaml.ScalarNode):
                self._document.scalars[path] = node
                return _scalar(node)
            raise _refusal(node, f'the tag "{node.tag}" is not known')
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal(key, "the key is not a text")
            name = _text(key)
            if name in mapping:
                raise _refusal(key, f'the key "{name}" stands here already')
            self._document.places[*path, name] = _span(key, value)
            mapping[name] = self.build(value, (*path, name))
        return mapping


def _scalar(node: yaml.ScalarNode) -> Any:
    text = _text(node)
    try:
        match node.tag.rpartition(":")[2]:
            case "str":
                return text
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                base = {"0o": 8, "0x": 16}.get(text[:2], 10)
                return int(text, base)
            case "float" if math.isfinite(number := float(text)):
                return number
            case "float":
                raise _refusal(node, "the number is too large")
    except (ValueError, KeyError):
        raise _refusal(node, f'"{text[:40]}" is not what its tag says') from None
    raise _refusal(node, f'the tag "{node.tag}" is not known')


def _text(node: yaml.ScalarNode) -> str:
    """Return the text of a scalar; JSON writes a character beyond the first 65536 as a pair."""
    if "\0" in node.value:
        raise _refusal(node, "NUL is no character that can be stored")
    try:
        return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise _refusal(node, "half of a surrogate pair is no character") from None


def _refusal(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _span(first: yaml.Node, last: yaml.Node | None = None) -> Place:
    """Return where a node stands, up to the end of the last one if that is on the same line."""
    start = first.start_mark
    ends = [each.end_mark for each in (last, first) if each is not None]
    width = next((each.column - start.column for each in ends if each.line == start.line), 1)
    return Place(start.line + 1, start.column + 1, max(width, 1))


def _items(value: Any, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Return the mappings in a list of the document, with their indexes."""
    items = value.get(name) if isinstance(value, Mapping) else None
    for at, each in enumerate(items if isinstance(items, list) else []):
        if isinstance(each, Mapping):
            yield at, each


def _parsed(path: str) -> Path:
    found = re.findall(r"\[(\d+)\]|([^.\[\]]+)", path)
    return tuple(int(index) if index else name for index, name in found)


def _written(path: Path) -> str:
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in path
    ).removeprefix(".")
