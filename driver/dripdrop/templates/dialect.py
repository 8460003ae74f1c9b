"""Where python-liquid differs from Shopify's Liquid, and people meet it: made the same.

What is null is as good as missing; `blank` is what Rails calls blank; a line break stays the one
that was written; text filters write null as nothing and truth in lower case; what is no date is
left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from io import StringIO
from typing import Any, TextIO

from liquid import Environment, RenderContext
from liquid.builtin import content, output
from liquid.builtin.expressions import FilteredExpression, Path, logical
from liquid.builtin.expressions.primitive import Blank
from liquid.builtin.tags import case_tag
from liquid.exceptions import LocalNamespaceLimitError, OutputStreamLimitError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from liquid.token import Token
from liquid.undefined import is_undefined
from markupsafe import escape

Filter = Callable[..., Any]

_SHOWN = 50  # characters of a name

LONGEST = 1_000_000
"""How many characters one rendered text may have."""

FILTERS = (
    *("abs", "append", "at_least", "at_most", "base64_decode", "base64_encode"),
    *("base64_url_safe_decode", "base64_url_safe_encode", "capitalize", "ceil", "compact"),
    *("concat", "date", "default", "divided_by", "downcase", "escape", "escape_once", "escapejs"),
    *("find", "find_index", "first", "floor", "has", "join", "last", "lstrip", "map", "minus"),
    *("modulo", "newline_to_br", "plus", "prepend", "reject", "remove", "remove_first"),
    *("remove_last", "replace", "replace_first", "replace_last", "reverse", "round", "rstrip"),
    *("safe", "size", "slice", "sort", "sort_natural", "split", "squish", "strip", "strip_html"),
    *("strip_newlines", "sum", "times", "truncate", "truncatewords", "uniq", "upcase"),
    *("url_decode", "url_encode", "where"),
)
"""The filters that there are. `dripdrop._liquid_words()` has them, too: SQL refuses all others."""

TAGS: Mapping[str, tuple[str, ...]] = {
    "assign": (),
    "break": (),
    "capture": ("endcapture",),
    "case": ("when", "else", "endcase"),
    "comment": ("endcomment",),
    "continue": (),
    "cycle": (),
    "decrement": (),
    "doc": ("enddoc",),
    "echo": (),
    "for": ("else", "endfor"),
    "if": ("elsif", "else", "endif"),
    "ifchanged": ("endifchanged",),
    "increment": (),
    "liquid": (),
    "raw": ("endraw",),
    "tablerow": ("endtablerow",),
    "unless": ("elsif", "else", "endunless"),
}
"""The tags that there are, and the words that belong to each; as the filters."""

_INNER_TAGS = {"#", "content", "illegal", "output"}
"""What the library takes for tags, and nobody writes."""

_TEXT_FILTERS = (
    *("append", "prepend", "remove", "remove_first", "remove_last"),
    *("replace", "replace_first", "replace_last", "split", "strip", "truncate", "truncatewords"),
)


class Output(StringIO):
    """What is written, up to so many characters; each is left as it is, line breaks too."""

    def __init__(self, limit: int) -> None:
        """Take so many characters."""
        self.left = limit
        self._texts: list[str] = []

    def write(self, text: str) -> int:
        """Write a text, or raise `OutputStreamLimitError`."""
        size = len(text)
        self.left -= size
        if self.left < 0:
            raise OutputStreamLimitError("output stream limit reached", token=None)
        self._texts.append(text)
        return size

    def getvalue(self) -> str:
        """Return what was written."""
        return "".join(self._texts)


class Context(RenderContext):
    """The state of one rendering."""

    def assign(self, key: str, val: Any) -> None:
        """Set a variable. Raises `LocalNamespaceLimitError` where that is too much, and says which.

        The name is the template's; the value is not told.
        """
        try:
            super().assign(key, val)
        except LocalNamespaceLimitError:
            raise LocalNamespaceLimitError(
                f'"{key[:_SHOWN]}" is too large: the variables that a template sets may take'
                f" {self.env.local_namespace_limit} bytes",
                token=None,
            ) from None

    def get(self, path: list[object], **options: Any) -> object:
        """Return what a path leads to; null is undefined."""
        if len(path) == 1 and "default" not in options:  # most are, and the library takes its time
            try:
                found: object = self.scope[path[0]]  # type: ignore[index]
            except (KeyError, TypeError):
                found = None
        else:
            found = super().get(path, **options)
        return self.env.undefined(str(path[0])) if found is None else found

    def get_buffer(self, buf: TextIO | None = None) -> StringIO:
        """Return an output for what is written inside of another one."""
        return Output(buf.left if isinstance(buf, Output) else LONGEST)


class _Text(content.ContentNode):
    """What stands in a template, written without being asked whether it may be."""

    def render(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(self.text)


class _Texts(content.Literal):
    node_class = _Text


class _Value(output.OutputNode):
    """A name without filters, which most of what is put out is: looked up with nothing between."""

    __slots__ = ("_path",)

    def __init__(self, token: Token, expression: Expression) -> None:
        super().__init__(token, expression)
        self._path: list[object] | None = None
        if isinstance(expression, FilteredExpression) and not expression.filters:
            path = expression.left
            if isinstance(path, Path) and not path.children():
                self._path = list(path.path)

    def render(self, context: RenderContext, buffer: TextIO) -> int:
        if self._path is None:
            value = self.expression.evaluate(context)
        else:
            value = context.get(self._path, token=self.token)
        if type(value) is str:
            return buffer.write(escape(value) if context.autoescape else value)
        return buffer.write(to_liquid_string(value, context.autoescape))


class _Values(output.Output):
    node_class = _Value


def adopt(environment: Environment) -> None:
    """Give an environment the filters and the tags of this dialect, and leave it no others."""
    environment.add_tag(_Texts)
    if type(environment.tags["output"]) is output.Output:
        environment.add_tag(_Values)
    filters = environment.filters
    for name in filters.keys() - FILTERS:
        del filters[name]
    for name in environment.tags.keys() - TAGS - _INNER_TAGS:
        del environment.tags[name]
    for name in _TEXT_FILTERS:
        filters[name] = _of_texts(filters[name])
    filters["date"] = _lenient_date(filters["date"])
    filters["join"] = _joining_texts(filters["join"])


def _of_texts(inner: Filter) -> Filter:
    @wraps(inner)
    def outer(value: Any, *args: Any, **options: Any) -> Any:
        return inner(_text(value), *map(_text, args), **options)

    return outer


def _joining_texts(inner: Filter) -> Filter:
    @wraps(inner)
    def outer(value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, list):
            value = [_text(each) for each in value]
        return inner(value, *map(_text, args), **options)

    return outer


def _lenient_date(inner: Filter) -> Filter:
    @wraps(inner)
    def outer(value: Any, form: Any = "", **options: Any) -> Any:
        form = _text(form)
        if value is None or isinstance(value, bool) or not form:
            return value
        try:
            return inner(value, form if isinstance(form, str) else str(form), **options)
        except Exception:  # too early, too late, or no date at all
            return value

    return outer


def _text(value: Any) -> Any:
    """Return null and truth as Liquid writes them, and everything else as it is."""
    if value is None or is_undefined(value):
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _is_blank(value: Any) -> bool:
    if value is None or value is False or is_undefined(value) or isinstance(value, Blank):
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, Iterable | Mapping) and not value


_equal_to_the_library = logical._eq


def _equal(left: object, right: object) -> bool:
    if isinstance(left, Blank):
        left, right = right, left
    if isinstance(right, Blank):
        return _is_blank(left)
    return _equal_to_the_library(left, right)


# The library has no other place to say it; `tests/templates/test_dialect.py` holds that it is used.
logical._eq = _equal
case_tag._eq = _equal  # type: ignore[attr-defined]
