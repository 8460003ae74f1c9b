"""One call of an HTTP hook: its request from templates, the attempts, and the answer."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dripdrop.outgoing.http import GuardedHTTP, NoReply, Reply, Request
from dripdrop.outgoing.reach import Reach, Unsendable
from dripdrop.redaction import strings, without
from dripdrop.templates import RenderError
from dripdrop.templates.liquid import body_part
from dripdrop.templates.process import RenderProcess, Work
from dripdrop.vault import Vault, VaultError, from_text

_CODES = {"url_refused": "url_blocked", "timeout": "hook_timeout"}
_PASSING = {408, 425, 429}
_LONGEST_PAUSE = 5.0  # seconds; what asks for more is asked again by the database


class HookCaller:
    """Calls HTTP hooks, as `dripdrop.claim_hooks()` hands them out, through the guard.

    The vault is asked for when a hook with sealed credentials is first met. These are `{"token"}`
    for bearer, `{"username", "password"?}` for basic and `{"name", "value"}` for header.
    """

    def __init__(
        self,
        reach: Reach,
        vault: Callable[[], Vault],
        rendering: RenderProcess | None = None,
    ) -> None:
        """Prepare without connecting. Without a process that renders it has one of its own."""
        self._http = GuardedHTTP(reach)
        self._vault = vault
        self._rendering = rendering or RenderProcess()
        self._own_rendering = rendering is None

    async def call(self, hook: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer as `dripdrop.complete_hooks()` takes it. Raises nothing expected.

        That is `{"response": body, "status": 200}`, or `{"error": code}`: ``http_404`` for a
        refusal, ``hook_timeout``, ``connect_error`` or ``connection_lost`` without a reply,
        ``url_blocked``, ``response_too_large``, ``hook_render_failed``, ``invalid_header``,
        ``missing_credentials``, ``vault_error``. Only what may pass is tried again: no reply, 408,
        425, 429, 5xx and what is no status. ``retry_after`` is what the server asked for, in
        seconds.
        """
        timeout = hook["timeout_ms"] / 1000
        try:
            request = await self._request(hook, variables, timeout)
        except RenderError:
            return {"error": "hook_render_failed"}
        except TimeoutError:
            return {"error": "hook_timeout"}
        except VaultError:
            return {"error": "vault_error"}
        except Unsendable as error:
            return _error(error.code)

        answer: dict[str, Any] = {}
        pause = 0.0
        for attempt in range(hook["retry_count"] + 1):
            if attempt:
                await asyncio.sleep(pause)
            pause = pause_after(attempt)
            try:
                reply = await self._http.exchange(request, timeout)
            except NoReply as error:
                answer = _error(error.code)
                if error.code == "url_refused":
                    break
                continue
            answer = _answer(reply)
            if reply.status not in _PASSING and not reply.server_failed:
                break
            asked = reply.retry_after(datetime.now(UTC))
            if asked is not None:
                answer["retry_after"] = asked
            if asked is not None and asked > _LONGEST_PAUSE:
                break
            pause = pause_after(attempt, asked)
        return self.redact(hook, answer)

    def redact(self, hook: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return an answer without the hook's credentials, which an endpoint may repeat."""
        if "response" not in answer or hook["auth_type"] == "none":
            return dict(answer)
        sent = (value.split(" ")[-1] for value in self._auth(hook).values())
        secrets = [*strings(self._credentials(hook)), *sent]
        return {**answer, "response": without(answer["response"], secrets)}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        if self._own_rendering:
            await self._rendering.aclose()

    async def _request(
        self, hook: Mapping[str, Any], variables: Mapping[str, Any], timeout: float
    ) -> Request:
        headers = {name.lower(): value for name, value in hook["headers"].items()}
        kind = headers.get("content-type", "application/json")
        escaping = body_part(headers)
        template = {"url": hook["url"], escaping: hook["body_template"]}
        rendered = template
        if any("{" in (part or "") for part in template.values()):
            rendered = await self._rendering.render_one(
                Work(json.dumps(template), template, variables, escaping="request")
            )
        body = rendered[escaping]
        if body is not None:
            headers["content-type"] = kind
            if escaping == "json":
                _check_json(body)
        return self._http.request(
            hook["method"],
            rendered["url"],
            headers | self._auth(hook),
            (body or "").encode(),
            timeout,
        )

    def _auth(self, hook: Mapping[str, Any]) -> dict[str, str]:
        """Return the header that the credentials make. Without them nothing is sent."""
        if hook["auth_type"] == "none":
            return {}
        fields = self._credentials(hook)
        try:
            match hook["auth_type"]:
                case "bearer":
                    return {"authorization": "Bearer " + fields["token"]}
                case "basic":
                    user = f"{fields['username']}:{fields.get('password', '')}"
                    return {"authorization": "Basic " + base64.b64encode(user.encode()).decode()}
                case _:
                    return {fields["name"].lower(): "" + fields["value"]}
        except (KeyError, TypeError, AttributeError):
            raise Unsendable("missing_credentials", "a field is missing") from None

    def _credentials(self, hook: Mapping[str, Any]) -> dict[str, Any]:
        if hook["auth_config"] is None:
            raise Unsendable("missing_credentials", "the hook has no credentials")
        sealed = from_text(hook["auth_config"])
        return self._vault().open(sealed, hook["tenant_key"], hook["seal_name"], "http_hook")


def pause_after(attempt: int, asked: float | None = None) -> float:
    """Return the seconds to wait after an attempt, the first being 0, before the next one.

    They are what the server asked for, else 0.1, 0.2, 0.4 and so on; never more than 5.
    """
    return min(0.1 * 2**attempt if asked is None else asked, _LONGEST_PAUSE)


def _check_json(body: str) -> None:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise RenderError("invalid_json", "the body is no JSON") from None


def _answer(reply: Reply) -> dict[str, Any]:
    if not 200 <= reply.status < 300:
        return {"error": reply.code, "status": reply.status}
    if reply.cut:
        return {"error": "response_too_large", "status": reply.status}
    text = reply.body.decode(errors="replace").replace("\0", "\ufffd")  # Postgres holds no NUL
    return {"response": text, "status": reply.status}


def _error(code: str) -> dict[str, Any]:
    return {"error": _CODES.get(code, code)}
