"""The description of the endpoints, made of their declarations: OpenAPI 3.1 and a page to read.

The page loads nothing from anywhere: no script, no style sheet, no font.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from typing import Any

import orjson

from headrace.jobs.serving.endpoint import ARROW, JSON, Answer, Endpoint, json

__all__ = ["described", "document"]

_PART = re.compile(r"\{(\w+)\}")
_ERROR = {
    "type": "object",
    "required": ["error", "asked", "found", "do"],
    "properties": {name: {"type": "string"} for name in ("error", "asked", "found", "do")},
}
_REFUSALS = {
    "400": "The request is wrong; the answer says what was asked, what was found, what to do.",
    "401": "There is no token that is known.",
    "403": "The token is for something else, or another site's page asks.",
    "404": "There is no such thing.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "414": "The query is too long.",
    "415": "The body is compressed.",
    "429": "As many requests as may are under way.",
    "503": "It is not ready.",
}
_PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>headrace</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
pre {{ background: #f4f4f4; padding: .6em; overflow-x: auto }} h2 code {{ font-size: 90% }}</style>
<h1>headrace: {title}</h1>
<p>Tokens go in <code>Authorization: Bearer …</code>. A refusal says what was asked, what was found
and what to do. For programs: <a href="/openapi.json">/openapi.json</a>.</p>
{endpoints}
</html>
"""


def described(endpoints: Sequence[Endpoint], title: str) -> list[Endpoint]:
    """Give endpoints and two more, ``/openapi.json`` and ``/docs``, which describe them all."""
    roles = frozenset(role for endpoint in endpoints for role in endpoint.roles or ())
    told: dict[str, Answer] = {}
    page = {"type": "string"}
    found = [
        *endpoints,
        Endpoint("GET", "/openapi.json", "Describe all this.", lambda _: told["document"], roles),
        Endpoint("GET", "/docs", "Describe all this.", lambda _: told["page"], roles, gives=page),
    ]
    told["document"] = json(document(found, title))
    told["page"] = Answer(_page(found, title).encode(), "text/html; charset=utf-8")
    return found


def document(endpoints: Sequence[Endpoint], title: str) -> dict[str, Any]:
    """Make the OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    scheme = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"headrace: {title}", "version": version("headrace")},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}, "securitySchemes": {"token": scheme}},
    }


def _operation(each: Endpoint) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    refusals = {code: {"description": about} for code, about in _REFUSALS.items()}
    for code in refusals:
        refusals[code]["content"] = error  # type: ignore[assignment]  # a tree of plain values
    content = {JSON: {"schema": each.gives}, ARROW: {}, "text/html": {}, "text/plain": {}}
    parameters = [
        *(_parameter(name, "path", "") for name in _PART.findall(each.path)),
        *(_parameter(name, "query", about) for name, about in each.query.items()),
    ]
    told: dict[str, Any] = {
        "summary": each.about,
        "parameters": parameters,
        "responses": {"200": {"description": each.about, "content": content}, **refusals},
        "security": [{"token": []}, {}] if each.roles else [],
    }
    if each.roles:
        told["description"] = f"Roles: {', '.join(sorted(each.roles))}."
    if each.takes is not None:
        told["requestBody"] = {
            "required": True,
            "content": {each.media_type: {"schema": each.takes}},
        }
    return told


def _parameter(name: str, place: str, about: str) -> dict[str, Any]:
    told = {"name": name, "in": place, "required": True, "schema": {"type": "string"}}
    return {**told, **({"description": about} if about else {})}


def _page(endpoints: Sequence[Endpoint], title: str) -> str:
    parts = []
    for each in endpoints:
        roles = f"roles: {', '.join(sorted(each.roles))}" if each.roles else "for everybody"
        told = f"<h2><code>{each.method} {escape(each.path)}</code></h2>"
        told += f"<p>{escape(each.about)} ({roles})</p>"
        for name, about in each.query.items():
            told += f"<p><code>?{escape(name)}=</code> {escape(about)}</p>"
        if each.takes is not None:
            schema = orjson.dumps(each.takes, option=orjson.OPT_INDENT_2).decode()
            told += f"<pre>{escape(each.media_type)}\n{escape(schema)}</pre>"
        parts.append(told)
    return _PAGE.format(title=escape(title), endpoints="\n".join(parts))
