"""What stands before every endpoint: who asks, how much, how many at once.

::

    request ─► Host, Origin ─► path, method ─► token ─► encoding, length ─► room? ─► body ─► answer
                  400, 403        404, 405     401, 403     415, 413        429    413, 408

A request that is refused before its body is one whose body was never read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from headrace.feature_store.questions import Busy
from headrace.jobs import telemetry
from headrace.jobs.serving.access import ROLES, Access, Refused
from headrace.jobs.serving.endpoint import Answer, Asked, Endpoint, Room, refusal
from headrace.jobs.serving.metrics import Counts
from headrace.operators.errors import HeadraceError

__all__ = ["Gate"]

_log = logging.getLogger(__name__)
_BODY_SECONDS = 30.0
_SENT_SECONDS = 120.0
_MOST_AT_ONCE = 64
_MOST_IN_ROOM = 8
_MOST_QUERY_BYTES = 8_192
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Gate:
    """An ASGI application of endpoints.

    Parameters
    ----------
    endpoints
        What is served.
    access
        Who may ask.
    metrics
        Counts what was answered.

    """

    def __init__(self, endpoints: Sequence[Endpoint], access: Access, metrics: Counts) -> None:
        self._access, self._metrics = access, metrics
        self.ending = False
        """Whether a connection is over with its next answer."""
        self._at_once = _Places(_MOST_AT_ONCE)
        self._rooms = {room: _Places(_MOST_IN_ROOM) for room in Room}
        by_path: dict[str, dict[str, Endpoint]] = {}
        for each in endpoints:
            by_path.setdefault(each.path, {})[each.method] = each
        self._plain = {path: methods for path, methods in by_path.items() if "{" not in path}
        self._routes = [
            (Route(path, _unused), methods) for path, methods in by_path.items() if "{" in path
        ]

    @property
    def endpoints(self) -> list[Endpoint]:
        """List what is answered."""
        of_routes = (methods for _, methods in self._routes)
        return [
            each for methods in (*self._plain.values(), *of_routes) for each in methods.values()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        start, route = time.perf_counter(), "unknown"
        try:
            headers = dict(scope["headers"])
            self._check_host(headers, scope.get("server"))
            endpoint, parts = self._find(scope, headers)
            route = endpoint.path
            asked = f"asked for {endpoint.method} {endpoint.path}"
            if endpoint.roles is not None:
                authorization = headers.get(b"authorization", b"")
                self._access.check(authorization, endpoint.roles, asked)
            with self._at_once.entered(asked):
                answer = await self._answer(scope, receive, endpoint, parts, headers)
                status = await self._send(send, answer)
        except Busy as error:
            status = await self._send(
                send, refusal(Refused(429, error.asked, error.found, error.do))
            )
        except HeadraceError as error:
            status = await self._send(send, refusal(error))
        except _Gone:
            return
        except _Cut as error:
            _log.warning("an answer to %s was cut", route, exc_info=error.__cause__)
            status = error.status
        except Exception:  # noqa: BLE001  # the top of a request: the process stays up, its log says why
            _log.exception("a request to %s failed", route)
            failed = Refused(500, f"asked for {route}", "it failed here", "look at the store's log")
            status = await self._send(send, refusal(failed))
        seconds = time.perf_counter() - start
        self._metrics.requested(route, status, seconds)
        telemetry.request(scope["method"], route, status, seconds, scope["headers"])

    def _check_host(self, headers: Mapping[bytes, bytes], came_to: tuple[str, int] | None) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        # Who asks by the address that the connection came to was led there by no name of another's.
        by_address = came_to is not None and host == f"{came_to[0]}:{came_to[1]}"
        if not by_address and not self._access.answers_to(host):
            asked = f"asked of the host {host[:200]!r}"
            do = "ask by its address, or declare the name under serve: hosts:"
            raise Refused(400, asked, "that is not this server's name", do)
        origin = headers.get(b"origin")
        if origin is None:
            return
        name = origin.decode("latin-1").partition("://")[2]
        if not self._access.answers_to(name):
            asked = f"asked from a page of {origin.decode('latin-1')[:200]!r}"
            do = "ask from a program, or declare the page's host under serve: hosts:"
            raise Refused(403, asked, "other sites' pages are not answered", do)

    async def _send(self, send: Send, answer: Answer) -> int:
        over = ((b"connection", b"close"),) if self.ending else ()
        return await _send(send, answer, *over)

    def _find(
        self, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> tuple[Endpoint, Mapping[str, str]]:
        path: str = scope["path"]
        methods = self._plain.get(path)
        parts: Mapping[str, str] = {}
        if methods is None:
            for route, of_route in self._routes:
                match, matched = route.matches(scope)
                if match is not Match.NONE:
                    methods, parts = of_route, matched["path_params"]
                    break
        asked = f"asked for {path[:200]!r}"
        if methods is None or scope["method"] not in methods:
            # What there is is told to those only who may ask for something.
            self._access.check(headers.get(b"authorization", b""), frozenset(ROLES), asked)
        if methods is None:
            raise Refused(404, asked, "that is not served", "see /docs for what is")
        if scope["method"] not in methods:
            found = f"the method is {scope['method'][:20]}"
            raise Refused(405, asked, found, f"use {' or '.join(methods)}")
        return methods[scope["method"]], parts

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        endpoint: Endpoint,
        parts: Mapping[str, str],
        headers: Mapping[bytes, bytes],
    ) -> Answer:
        _check_form(scope, endpoint, headers)
        if endpoint.room is None:
            body = await _body(receive, endpoint) if endpoint.takes is not None else b""
            return endpoint.answer(_asked(scope, parts, headers, body))
        with self._rooms[endpoint.room].entered(f"asked for {endpoint.method} {endpoint.path}"):
            body = await _body(receive, endpoint) if endpoint.takes is not None else b""
            return await run_in_threadpool(endpoint.answer, _asked(scope, parts, headers, body))


def _asked(
    scope: Scope, parts: Mapping[str, str], headers: Mapping[bytes, bytes], body: bytes
) -> Asked:
    query = scope["query_string"]
    pairs = dict(parse_qsl(query.decode("latin-1"), max_num_fields=20)) if query else {}
    return Asked(parts, pairs, headers.get(b"accept", b"").decode("latin-1"), body)


def _check_form(scope: Scope, endpoint: Endpoint, headers: Mapping[bytes, bytes]) -> None:
    """Refuse by what the headers say of the body, and by a query that is too long."""
    asked = f"asked for {endpoint.method} {endpoint.path}"
    if len(scope["query_string"]) > _MOST_QUERY_BYTES or scope["query_string"].count(b"&") > 19:
        raise Refused(414, asked, "its query is too long", "ask with fewer parameters")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        found = "the body is compressed, and could become any size"
        raise Refused(415, asked, found, "send it as it is, without Content-Encoding")
    length = headers.get(b"content-length", b"0")
    if endpoint.takes is not None and length.isdigit() and int(length) > endpoint.most_bytes:
        raise _too_large(endpoint)


def _too_large(endpoint: Endpoint) -> Refused:
    asked = f"asked for {endpoint.method} {endpoint.path}"
    found = f"the body has more than {endpoint.most_bytes} bytes"
    return Refused(413, asked, found, "ask in parts")


class _Gone(Exception):
    """The client has left."""


class _Cut(Exception):
    """An answer that began and has no end: the server then closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


async def _body(receive: Receive, endpoint: Endpoint) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                more = message.get("more_body", False)
                if size > endpoint.most_bytes:
                    raise _too_large(endpoint)
    except TimeoutError:
        asked = f"asked for {endpoint.method} {endpoint.path}"
        found = f"the body did not come in {_BODY_SECONDS:g} s"
        raise Refused(408, asked, found, "ask again") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _send(send: Send, answer: Answer, *more: tuple[bytes, bytes]) -> int:
    """Send an answer in whole, with `more` headers; give its status."""
    headers = [(b"content-type", answer.media_type.encode()), *_HEADERS, *answer.headers, *more]
    if answer.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if answer.status in (429, 503):
        headers.append((b"retry-after", b"1"))
    body = answer.body
    if isinstance(body, bytes):
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return answer.status
    try:
        async with asyncio.timeout(_SENT_SECONDS):
            for chunk in body:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
    except TimeoutError as error:
        raise _Cut(408) from error
    except Exception as error:
        raise _Cut(500) from error
    return answer.status


class _Places:
    """How many requests may be under way at once; one more is refused, and none waits."""

    def __init__(self, most: int) -> None:
        self._most, self._inside = most, 0

    @contextmanager
    def entered(self, asked: str) -> Iterator[None]:
        """Count a request for as long as the context lasts."""
        if self._inside >= self._most:
            found = f"{self._most} such requests are under way, as many as may"
            raise Refused(429, asked, found, "ask again in a second")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


async def _unused(_: object) -> None:
    """Stand where a route wants a function: routes only match here."""


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
