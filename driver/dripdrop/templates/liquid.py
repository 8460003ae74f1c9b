"""Rendering Liquid templates into payloads, within limits.

A template is the JSON object in `steps.template_content`: every string in it, however deep, is
Liquid; other values and all keys pass through. What goes into HTML is escaped unless the template
says `| safe`; what goes anywhere else is not. The request of an HTTP hook is a template too: each
value in its `url` and its `form` is percent-encoded, and each one in its `json` is escaped for the
inside of a JSON string, or with `| json` written as JSON itself.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TextIO, TypeAlias
from urllib.parse import quote

from liquid import BoundTemplate, Environment, RenderContext
from liquid.builtin import output
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.exceptions import (
    ContextDepthError,
    LiquidError,
    LoopIterationLimitError,
    OutputStreamLimitError,
)
from liquid.stringify import to_liquid_string

from dripdrop.mailbox import marked, read_mailbox
from dripdrop.templates.dialect import LONGEST, Context, Output, adopt

_CACHED = 1000  # templates
_CACHED_CHARACTERS = 500_000  # of their sources; one takes up to 130 bytes once it is parsed

TOO_LARGE = "message_too_large"
"""The code of a message that no provider would take for its size."""

Part: TypeAlias = Literal["message", "url", "form", "json"]
"""What a template is part of, which says how its values are escaped."""

_Compiled: TypeAlias = Callable[[Mapping[str, Any]], Any]


class RenderError(Exception):
    """A message cannot be rendered, now or later. `code` is short and stable."""

    def __init__(self, code: str, detail: str) -> None:
        """Take the code and Liquid's own words, which hold no values."""
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Limited(Environment):
    """Liquid without files, and with an end to loops and variables; `Output` ends by itself."""

    context_depth_limit = 20
    loop_iteration_limit = 10_000
    local_namespace_limit = 1_000_000


_LIMITS: Mapping[type[LiquidError], str] = {
    ContextDepthError: f"it is nested deeper than {_Limited.context_depth_limit} levels",
    LoopIterationLimitError: f"its loops go round more than {_Limited.loop_iteration_limit} times",
}
"""What is too large or too deep where the library says that a limit was reached, and not of what;
what a variable is too large for, `Context` says."""


class _Written(str):
    """What is JSON already."""


def _percent_encoded(text: str) -> str:
    """Return text for one part of a URL. A dot segment would be another path (RFC 3986 5.2.4)."""
    if text in {".", ".."}:
        raise RenderError("unsafe_url", "a value in the URL is a dot segment")
    return quote(text, safe="")


def _json_escaped(text: str) -> str:
    return text if isinstance(text, _Written) else json.dumps(text, ensure_ascii=False)[1:-1]


def _json(value: Any) -> str:
    """Return a value as JSON; what a template names and nobody gave is null."""
    return _Written(json.dumps(value, ensure_ascii=False, default=lambda _: None))


def _printing(write: Callable[[str], str], without: Iterable[str] = ()) -> Environment:
    """Return Liquid that changes whatever `{{ }}` puts out, always; without some tags."""

    class Node(output.OutputNode):
        def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
            value = self.expression.evaluate(context)
            return buffer.write(write(to_liquid_string(value, autoescape=False)))

    class Printed(output.Output):
        node_class = Node

    class Echoed(EchoTag):
        node_class = Node  # type: ignore[assignment]  # it differs in how it is shown, no more

    environment = _Limited()
    environment.add_tag(Printed)
    environment.add_tag(Echoed)
    for tag in without:
        del environment.tags[tag]
    return environment


_ALSO_PRINT = ("capture", "cycle", "echo", "ifchanged", "liquid", "tablerow")
_TEXT = _Limited()
_HTML = _Limited(autoescape=True)
_MAILBOX = _printing(marked)
_PERCENT = _printing(_percent_encoded, _ALSO_PRINT)
_JSON = _printing(_json_escaped, _ALSO_PRINT)
for _environment in (_TEXT, _HTML, _MAILBOX, _PERCENT, _JSON):
    adopt(_environment)
_JSON.add_filter("json", _json)

MESSAGE: Mapping[str, Environment] = {"html": _HTML}
"""How the fields of a message are escaped; those that are not named are not."""

REQUEST: Mapping[str, Environment] = {"url": _PERCENT, "form": _PERCENT, "json": _JSON}
"""How the parts of an HTTP hook's request are escaped."""


def body_part(headers: Mapping[str, Any]) -> Literal["form", "json"]:
    """Return which part of a request its body is, by its headers."""
    types = [str(each) for name, each in headers.items() if name.lower() == "content-type"]
    is_form = any(each.lower().startswith("application/x-www-form") for each in types)
    return "form" if is_form else "json"


class Renderer:
    """Renders messages; each template is parsed once, and known by its hash from then on.

    Loops and output are limited here; what a filter takes is not. Templates of others are rendered
    in a process that can be ended, see `RenderProcess`.
    """

    def __init__(self, escaping: Mapping[str, Environment] = MESSAGE) -> None:
        """Know no template yet."""
        self._escaping = escaping
        self._compiled: dict[str, _Template] = {}
        self._characters = 0

    def learn(self, template_hash: str, template: Mapping[str, Any]) -> None:
        """Parse a template unless it is known. One that does not parse raises when rendered."""
        # The one that was met last stands last, so the first is the one to forget.
        known = self._compiled.pop(template_hash, None)
        if known is None:
            known = _parse(template, self._escaping)
            self._characters += known.characters
        self._compiled[template_hash] = known
        while len(self._compiled) > _CACHED or (
            self._characters > _CACHED_CHARACTERS and len(self._compiled) > 1
        ):
            self._characters -= self._compiled.pop(next(iter(self._compiled))).characters

    def knows(self, template_hash: str) -> bool:
        """Whether a template has been learnt, and not been forgotten."""
        return template_hash in self._compiled

    def render(
        self, template_hash: str, variables: Mapping[str, Any], mailboxes: Iterable[str] = ()
    ) -> Any:
        """Return the payload. Raises `RenderError`; `KeyError` for a hash it has not learnt.

        In the fields that are mailboxes, whatever a value holds stays one name.

        What takes more memory than there is raises `MemoryError`: it may not be this message's
        fault.
        """
        compiled = self._compiled[template_hash]
        try:
            payload = compiled.payload(variables)
            for field in mailboxes:
                if isinstance(payload.get(field), str):
                    payload[field] = _written(compiled.marked(field)(variables), payload[field])
        except (RenderError, MemoryError):
            raise
        except OutputStreamLimitError:
            raise RenderError(TOO_LARGE, f"a text is longer than {LONGEST} characters") from None
        except LiquidError as error:
            detail = _LIMITS.get(type(error), str(error.message))
            raise RenderError("liquid_error", detail) from None
        except Exception as error:  # filters let Python's own errors through, values and all
            raise RenderError("liquid_error", type(error).__name__) from None
        return payload


class TemplateFault(NamedTuple):
    """What keeps a template from being rendered: where, in which text, and why.

    Lines count from 1, columns from 0; without a line the parser did not say where.
    """

    path: tuple[str | int, ...]
    message: str
    line: int | None = None
    column: int = 0
    width: int = 1


def template_faults(template: Any, part: Part = "message") -> list[TemplateFault]:
    """List the strings of a template, however deep, that do not parse or name unknown filters.

    It is a message's, or a part of a hook's request.
    """
    return list(_faults(template, (), REQUEST.get(part, _TEXT)))


def template_variables(template: Any) -> Counter[str]:
    """Count the variables that the strings of a template use and do not set themselves."""
    if isinstance(template, Mapping):
        return sum(map(template_variables, template.values()), Counter[str]())
    if isinstance(template, list):
        return sum(map(template_variables, template), Counter[str]())
    if not isinstance(template, str):
        return Counter()
    try:
        used = _TEXT.from_string(template).analyze().globals
    except Exception:
        return Counter()  # what does not parse is a fault
    return Counter({name: len(places) for name, places in used.items()})


def _faults(
    template: Any, path: tuple[str | int, ...], environment: Environment
) -> Iterator[TemplateFault]:
    if isinstance(template, Mapping):
        for key, each in template.items():
            yield from _faults(each, (*path, key), environment)
    elif isinstance(template, list):
        for place, each in enumerate(template):
            yield from _faults(each, (*path, place), environment)
    elif isinstance(template, str):
        try:
            used = environment.from_string(template).analyze().filters
        except LiquidError as error:
            yield TemplateFault(path, str(error.message), *_place(error))
            return
        except Exception as error:
            yield TemplateFault(path, type(error).__name__)
            return
        for name, spans in used.items():
            if name not in environment.filters:
                line = template.count("\n", 0, spans[0].index) + 1
                column = spans[0].index - template.rfind("\n", 0, spans[0].index) - 1
                yield TemplateFault(path, f"unknown filter '{name}'", line, column, len(name))


def _place(error: LiquidError) -> tuple[int | None, int, int]:
    """Return the line and column of an error, and how wide it is there."""
    context = error.context()
    if context is None or error.token is None:
        return None, 0, 1
    line, column, _, text, _ = context
    return line, column, max(1, min(len(error.token.value), len(text) - column))


class _Template(NamedTuple):
    """A template, ready to be rendered."""

    payload: _Compiled
    source: Mapping[str, Any]
    mailboxes: dict[str, _Compiled]
    """Those of its fields that were rendered as mailboxes, their values marked."""
    characters: int
    """How much there was to parse."""

    def marked(self, field: str) -> _Compiled:
        """Return what renders a field with its values marked."""
        if field not in self.mailboxes:
            self.mailboxes[field] = _compile(self.source[field], _MAILBOX, {})
        return self.mailboxes[field]


def _parse(template: Mapping[str, Any], escaping: Mapping[str, Environment]) -> _Template:
    characters = _characters(template)
    try:
        return _Template(_compile(template, _TEXT, escaping), template, {}, characters)
    except MemoryError:
        raise
    except LiquidError as error:
        reason = f"{error.message} (line {_line(error)})"
    except Exception as error:
        reason = type(error).__name__
    return _Template(_raising("liquid_parse", reason), {}, {}, characters)


def _compile(
    template: Any, environment: Environment, escaping: Mapping[str, Environment]
) -> _Compiled:
    if isinstance(template, str):
        if "{" not in template:
            return lambda variables: template
        parsed = environment.from_string(template)
        return lambda variables: _without_nul(_render(parsed, variables))
    if isinstance(template, Mapping):
        fields = {
            key: _compile(each, escaping.get(key, _TEXT), escaping)
            for key, each in template.items()
        }
        return lambda variables: {key: each(variables) for key, each in fields.items()}
    if isinstance(template, list):
        items = [_compile(each, environment, escaping) for each in template]
        return lambda variables: [each(variables) for each in items]
    return lambda variables: template


def _render(template: BoundTemplate, variables: Mapping[str, Any]) -> str:
    """Do as `template.render`, without its copies of the variables and what partials need."""
    context = Context(template, globals=variables)
    output = Output(LONGEST)
    for node in template.nodes:
        node.render(context, output)
    return output.getvalue()


def _written(mailbox: str, as_it_is: str) -> str:
    """Return a mailbox as RFC 5322 writes it; what is none, as it is, for the channel to refuse."""
    found = read_mailbox(mailbox)
    return as_it_is if found is None else str(found)


def _raising(code: str, detail: str) -> _Compiled:
    def compiled(variables: Mapping[str, Any]) -> Any:
        raise RenderError(code, detail)

    return compiled


def _without_nul(text: str) -> str:
    """Refuse the one character that Postgres cannot store."""
    if "\0" in text:
        raise RenderError("nul_character", "the text holds a NUL character")
    return text


def _line(error: LiquidError) -> int:
    context = error.context()
    return context[0] if context else 1


def _characters(template: Any) -> int:
    """Return how much of a template there is to parse."""
    if isinstance(template, str):
        return len(template)
    if isinstance(template, Mapping):
        template = list(template.values())
    return sum(map(_characters, template)) if isinstance(template, list) else 0
