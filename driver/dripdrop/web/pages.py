"""The pages: plain HTML, one stylesheet, no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;margin:0}"
    "main{max-width:34rem;margin:3rem auto;padding:0 1rem}"
    "fieldset{border:1px solid #767676;border-radius:.3rem;margin:1.5rem 0;padding:.5rem 1rem}"
    "label{display:block;padding:.4rem 0}small{display:block;margin-left:1.7rem;color:#595959}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.3rem;"
    "background:#1a4fa3;color:#fff;cursor:pointer}"
    "button:focus-visible,input:focus-visible{outline:3px solid #e0a100;outline-offset:2px}"
    "form{margin:1rem 0}"
)

STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
"""What a Content-Security-Policy allows as the only style."""


def preferences_page(page: Any) -> str:
    """Return the page behind the link, for a row of `subscription_page()`."""
    if page.suppressed:
        return _html("Unsubscribed", f"<p>{_stopped(page)}</p>")
    return _html("Unsubscribe", *_one_click(page), *_choices(page))


def done_page(page: Any) -> str:
    """Return the page after a change."""
    if page.suppressed:
        return _html("Unsubscribed", f'<p role="status">{_stopped(page)}</p>')
    said = f"Your choice for {_address(page)} is saved."
    return _html("Saved", f'<p role="status">{said}</p>', *_choices(page))


def _choices(page: Any) -> Iterator[str]:
    """Yield the forms for topics; none where everything has stopped, or there is no topic."""
    if page.suppressed or not page.topics:
        return
    rows = "".join(_choice(topic) for topic in page.topics)
    yield (
        f'<form method="post"><fieldset><legend>What we may send</legend>{rows}</fieldset>'
        '<button name="action" value="topics">Save</button></form>'
    )
    yield (
        '<form method="post"><button name="action" value="everything">Unsubscribe from everything'
        "</button></form>"
    )


def _choice(topic: dict[str, Any]) -> str:
    key, name = escape(topic["key"]), escape(topic["name"])
    checked = " checked" if topic["subscribed"] else ""
    about = f"<small>{escape(topic['description'])}</small>" if topic["description"] else ""
    return (
        f'<input type="hidden" name="shown" value="{key}">'
        f'<label><input type="checkbox" name="topic" value="{key}"{checked}> {name}{about}</label>'
    )


def _one_click(page: Any) -> Iterator[str]:
    """Yield the button that does what a mail program's own button does, unless that is done."""
    topic = next((each for each in page.topics if each["key"] == page.topic), None)
    if topic is not None and not topic["subscribed"]:
        return
    what = f"“{escape(topic['name'])}”" if topic else escape(page.channel)
    yield (
        f"<p>Send no more {what} to {_address(page)}?</p>"
        '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        "<button>Unsubscribe</button></form>"
    )


def _stopped(page: Any) -> str:
    return f"{_address(page)} gets no more {escape(page.channel)}."


def _address(page: Any) -> str:
    """Return enough of the address for its owner: a mail may have been passed on."""
    name, at, domain = page.recipient.partition("@")
    return escape(f"{name[:1]}…{at}{domain}")


def _html(title: str, *parts: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{''.join(parts)}</main></body></html>\n"
    )
