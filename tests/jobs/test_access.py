"""Who may ask what: tokens by role, refusals before the body, limits, addresses that are safe."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.jobs.machine.state import write_json
from headrace.jobs.serving import gate
from headrace.jobs.serving.access import ANYBODY, ROLES, Access, AccessError, Refused, Secret
from headrace.jobs.serving.client import Client
from headrace.jobs.serving.endpoint import Answer, Endpoint, Room, json
from headrace.jobs.serving.gate import Gate
from headrace.jobs.serving.metrics import Metrics
from headrace.jobs.serving.server import Server
from headrace.operators.errors import PipelineError, StoreError
from headrace.pipelines.pipeline import Serve
from tests.feature_store.made_up import pipeline
from tests.jobs.test_server import processing

TOKENS = {role: f"canary-{role}-" + role[0] * 16 for role in ROLES}
NAMED = ", ".join(f"{role}: env:TOKEN_{role.upper()}" for role in ROLES)
SERVE = f"serve: {{tokens: {{{NAMED}}}, hosts: [features.example.com]}}\n"
READ: set[str | None] = {"read", "admin"}
PREDICT: set[str | None] = {"predict", "admin"}
EVERYBODY: set[str | None] = {None, *ROLES}
MATRIX: dict[tuple[str, str], set[str | None]] = {
    ("GET", "/livez"): EVERYBODY,
    ("GET", "/healthz"): EVERYBODY,
    ("GET", "/readyz"): EVERYBODY,
    ("GET", "/v2/health/live"): EVERYBODY,
    ("GET", "/v2/health/ready"): EVERYBODY,
    ("GET", "/metrics"): READ,
    ("GET", "/v1/status"): READ,
    ("GET", "/v1/features"): READ,
    ("GET", "/v1/why"): READ,
    ("POST", "/v1/features"): READ | PREDICT,
    ("POST", "/v1/predict"): PREDICT,
    ("POST", "/v1/sql"): READ,
    ("POST", "/v1/training"): READ,
    ("GET", "/v2"): READ | PREDICT,
    ("GET", "/v2/models/{model}"): READ | PREDICT,
    ("GET", "/v2/models/{model}/ready"): READ | PREDICT,
    ("POST", "/v2/models/{model}/infer"): PREDICT,
    ("GET", "/v2/models/{model}/versions/{version}"): READ | PREDICT,
    ("GET", "/v2/models/{model}/versions/{version}/ready"): READ | PREDICT,
    ("POST", "/v2/models/{model}/versions/{version}/infer"): PREDICT,
    ("GET", "/openapi.json"): READ | PREDICT,
    ("GET", "/docs"): READ | PREDICT,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants tokens."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for role, token in TOKENS.items():
            monkeypatch.setenv(f"TOKEN_{role.upper()}", token)
        with processing(tmp_path_factory.mktemp("guarded"), SERVE) as process:
            server = Server(process)
            server.start()
            yield server
            server.stop()


@pytest.fixture(scope="module")
def guarded(server: Server) -> Iterator[httpx.Client]:
    """A client of it that has no token."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client


def bearer(role: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {TOKENS[role]}"} if role in TOKENS else {}


def test_every_endpoint_is_in_the_matrix(guarded: httpx.Client, server: Server) -> None:
    """A new one is of some role, and stands here, or this fails."""
    declared = {(each.method, each.path): each.roles for each in server.gate.endpoints}
    assert declared == {
        route: None if None in allowed else frozenset(map(str, allowed))
        for route, allowed in MATRIX.items()
    }
    paths = guarded.get("/openapi.json", headers=bearer("read")).json()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == set(MATRIX)


def test_an_endpoint_without_roles_is_not_made() -> None:
    with pytest.raises(TypeError, match="roles"):
        Endpoint("GET", "/x", "Echo.", lambda _: Answer(b""))  # type: ignore[call-arg]  # that is it
    spy = Spy([])
    nobody = Endpoint("GET", "/x", "Echo.", lambda _: json(1), frozenset())
    gate = Gate([nobody], Access({"admin": Secret("a" * 16)}, frozenset()), Metrics())
    assert spy.ask(gate, method="GET") == 401


@pytest.mark.parametrize(("method", "path"), MATRIX)
@pytest.mark.parametrize("role", [None, *ROLES, "stranger"])
def test_a_role_is_answered_what_it_may_ask(
    guarded: httpx.Client, method: str, path: str, role: str | None
) -> None:
    path_of_one = path.format(model="small", version="0") if "{" in path else path
    headers = {"authorization": f"Bearer {'x' * 40}"} if role == "stranger" else bearer(role)
    status = guarded.request(method, path_of_one, headers=headers, content=b"").status_code
    allowed = MATRIX[method, path]
    if role in allowed or None in allowed:
        assert status in (200, 400, 503)
    else:
        assert status == (403 if role in ROLES else 401)


@pytest.mark.parametrize(
    "authorization",
    [
        *("", "Bearer", f"Basic {TOKENS['admin']}", TOKENS["admin"], "Bearer \xff\xff\xff"),
        *(f"Bearer {TOKENS['admin'][:-1]}", f"Bearer {TOKENS['admin']}x", "Bearer " + "a" * 9_000),
    ],
)
def test_no_token_is_no_answer(guarded: httpx.Client, authorization: str) -> None:
    headers = {b"authorization": authorization.encode("latin-1")}
    for path in ("/v1/status", "/v1/nothing", "/docs"):
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["do"] == "send Authorization: Bearer and a token"
    assert guarded.get("/v1/nothing", headers=bearer("read")).status_code == 404


def test_a_token_is_never_shown(
    guarded: httpx.Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_READ", TOKENS["read"])
    with caplog.at_level(logging.DEBUG):
        answers = [
            guarded.request(method, path, headers=bearer("read"), content=b"{").text
            for method, path in MATRIX
        ]
        secret = Secret.of("env:TOKEN_READ")
        with pytest.raises(ZeroDivisionError) as failed:
            _ = 1 // 0 if secret.equals(TOKENS["read"].encode()) else 0
    shown = [*answers, caplog.text, repr(secret), str(secret), str(failed.getrepr(showlocals=True))]
    assert "canary" not in "".join(shown)
    assert secret.reveal() == TOKENS["read"]


@pytest.mark.parametrize(
    ("headers", "status", "found"),
    [
        ({"host": "evil.example"}, 400, "that is not this server's name"),
        ({"host": ""}, 400, "that is not this server's name"),
        ({"host": "127.0.0.1.evil.example:80"}, 400, "not this server's"),
        ({"host": "features.example.com:8000"}, 200, ""),
        ({"host": "LOCALHOST"}, 200, ""),
        ({"origin": "https://evil.example"}, 403, "other sites' pages are not answered"),
        ({"origin": "null"}, 403, "other sites'"),
        ({"origin": "http://features.example.com"}, 200, ""),
        ({"origin": "http://127.0.0.1:9"}, 200, ""),
    ],
)
def test_other_names_and_pages_are_not_answered(
    guarded: httpx.Client, headers: dict[str, str], status: int, found: str
) -> None:
    answer = guarded.get("/v1/status", headers={**bearer("read"), **headers})
    assert answer.status_code == status
    assert found in answer.text


def test_an_address_of_ipv6_is_a_name_too() -> None:
    access = Access.of(Serve(host="::1", hosts=("fd00::1", "a.example.com")))
    for host in ("[::1]:80", "[fd00::1]", "[FD00::1]:8000", "a.example.com:8000"):
        assert access.answers_to(host), host
    assert not access.answers_to("[fd00::2]:8000")


class Spy:
    """An ASGI server's side of one request, which knows whether the body was read."""

    def __init__(self, parts: list[bytes], **headers: str) -> None:
        self.parts, self.read, self.sent = parts, 0, []
        named = {"host": "localhost", **headers}.items()
        self.headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in named]

    sent: list[MutableMapping[str, Any]]

    async def receive(self) -> dict[str, Any]:
        """Give the next part of the body."""
        part = self.parts[self.read] if self.read < len(self.parts) else b""
        self.read += 1
        return {"type": "http.request", "body": part, "more_body": self.read < len(self.parts)}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Keep what is sent."""
        self.sent.append(message)

    def ask(self, application: Gate, path: str = "/x", method: str = "POST", **more: object) -> int:
        """Ask, and give the status."""
        scope = {"type": "http", "method": method, "path": path, "headers": self.headers}
        asyncio.run(application({**scope, "query_string": b"", **more}, self.receive, self.send))
        return int(self.sent[0]["status"])


@pytest.mark.parametrize(
    ("host", "status"),
    [("10.0.0.7:8000", 200), ("10.0.0.8:8000", 400), ("10.0.0.7:80", 400), ("10.0.0.7", 400)],
)
def test_the_address_that_was_connected_to_is_a_name(host: str, status: int) -> None:
    spy = Spy([b""], host=host, authorization="Bearer " + "r" * 16)
    assert spy.ask(guard(), server=("10.0.0.7", 8000)) == status


def guard(**more: Any) -> Gate:
    """Make a gate of one endpoint at /x that echoes how long the body is."""

    def echo(asked: Any) -> Answer:
        return json(len(asked.body))

    roles: frozenset[Any] = frozenset(("read",))
    endpoint = Endpoint("POST", "/x", "Echo.", echo, roles, takes={}, most_bytes=10, **more)
    counts = Endpoint("GET", "/metrics", "Count.", echo, roles, room=Room.METRICS)
    return Gate(
        [endpoint, counts],
        Access({"read": Secret("r" * 16), "predict": Secret("p" * 16)}, frozenset()),
        Metrics(),
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer " + "p" * 16}, 403),
        ({"authorization": "Bearer " + "r" * 16, "host": "other"}, 400),
        ({"authorization": "Bearer " + "r" * 16, "origin": "http://other"}, 403),
        ({"authorization": "Bearer " + "r" * 16, "content_encoding": "br"}, 415),
        ({"authorization": "Bearer " + "r" * 16, "content_encoding": "gzip, identity"}, 415),
        ({"authorization": "Bearer " + "r" * 16, "content_length": "11"}, 413),
    ],
)
def test_what_is_refused_was_not_read(headers: dict[str, str], status: int) -> None:
    spy = Spy([b"body"], **headers)
    assert spy.ask(guard()) == status
    assert spy.read == 0


def test_a_body_is_read_up_to_its_bound() -> None:
    token = {"authorization": "Bearer " + "r" * 16}
    assert Spy([b"12345", b"67890"], **token).ask(guard()) == 200
    spy = Spy([b"12345", b"678901", b"never read"], **token)
    assert spy.ask(guard()) == 413
    assert spy.read == 2
    spy = Spy([b"12345678901"], content_length="-1", **token)
    assert spy.ask(guard()) == 413
    assert Spy([b""], **token).ask(guard(), "/y") == 404


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_BODY_SECONDS", 0.01)

    class Slow(Spy):
        async def receive(self) -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

    assert Slow([], authorization="Bearer " + "r" * 16).ask(guard()) == 408


@pytest.mark.parametrize("room", [None, Room.QUESTIONS])
def test_one_more_than_may_be_under_way_is_refused(
    room: Room | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_MOST_IN_ROOM", 3)
    monkeypatch.setattr(gate, "_MOST_AT_ONCE", 4)
    application, most = guard(room=room), 3 if room else 4
    arrived: list[int] = []

    async def ask() -> list[int]:
        release, everyone = asyncio.Event(), asyncio.Event()

        class Held(Spy):
            async def receive(self) -> dict[str, Any]:
                arrived.append(1)
                if len(arrived) == most:
                    everyone.set()
                await release.wait()
                return await super().receive()

        spies = [Held([b"1"], authorization="Bearer " + "r" * 16) for _ in range(most)]
        scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b""}
        held = [
            asyncio.create_task(application({**scope, "headers": s.headers}, s.receive, s.send))
            for s in spies
        ]
        await everyone.wait()
        more = Spy([b"1"], authorization="Bearer " + "r" * 16)
        await application({**scope, "headers": more.headers}, more.receive, more.send)
        assert more.read == 0
        # What is counted is told however many questions run.
        other = Spy([], authorization="Bearer " + "r" * 16)
        of_counts = {**scope, "method": "GET", "path": "/metrics", "headers": other.headers}
        await application(of_counts, other.receive, other.send)
        assert other.sent[0]["status"] == (200 if room else 429)
        release.set()
        await asyncio.gather(*held)
        return [each.sent[0]["status"] for each in (*spies, more)]

    assert asyncio.run(ask()) == [*([200] * most), 429]
    assert Spy([b"1"], authorization="Bearer " + "r" * 16).ask(application) == 200


@pytest.mark.parametrize(("failing", "status"), [(False, 408), (True, 500)])
def test_a_stream_that_is_cut_is_counted_and_begins_nothing_new(
    failing: bool, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "_SENT_SECONDS", 0.01)

    class Still(Spy):
        async def send(self, message: MutableMapping[str, Any]) -> None:
            await super().send(message)
            if message.get("body") == b"never taken":
                await asyncio.Event().wait()

    def chunks() -> Iterator[bytes]:
        yield b"a"
        if failing:
            raise error
        yield b"never taken"

    error = StoreError("asked", "found", "do")
    spy, metrics = Still([]), Metrics()
    endpoint = Endpoint("GET", "/x", "Stream.", lambda _: Answer(chunks()), ANYBODY)
    assert spy.ask(Gate([endpoint], Access({}, frozenset()), metrics), method="GET") == 200
    assert [each["type"] for each in spy.sent].count("http.response.start") == 1
    assert spy.sent[-1]["more_body"]
    labels = {"route": "/x", "code": str(status)}
    assert metrics._registry.get_sample_value("headrace_requests_total", labels) == 1


def test_a_failure_is_logged_and_told_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    def fail(asked: Any) -> Answer:
        del asked
        message = "the inside"
        raise RuntimeError(message)

    spy = Spy([])
    assert (
        spy.ask(
            Gate(
                [Endpoint("GET", "/x", "Fail.", fail, ANYBODY)], Access({}, frozenset()), Metrics()
            ),
            method="GET",
        )
        == 500
    )
    assert b"look at the store's log" in spy.sent[1]["body"]
    assert b"inside" not in spy.sent[1]["body"]
    assert "the inside" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "features.example.com"])  # noqa: S104  # what is refused
def test_an_address_that_others_reach_demands_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"asked to serve at .*; no token is declared.*127\.0"):
        Access.of(Serve(host=host))
    path = tmp_path / "small.yaml"
    pipeline(tmp_path, f"serve: {{host: '{host}'}}\n")
    argv = [
        *("-m", "headrace.jobs.cli.main", "process", "store"),
        str(path),
        "--bootstrap",
        "nowhere:1",
    ]
    done = subprocess.run(
        [sys.executable, *argv, "--state", str(tmp_path / "state")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"headrace: asked to serve at {host}, which other machines reach")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("serve: {tokens: {read: hunter2}}", "asked for a token; it is written there itself"),
        ("serve: {tokens: {read: 'env:A B'}}", "asked for a token"),
        ("serve: {tokens: {write: env:A}}", "'write'"),
        ("serve: {host: 'a b'}", "asked for the host 'a b'"),
        ("serve: {host: 'localhost:80'}", "asked for the host 'localhost:80'"),
        ("serve: {port: 65536}", "65536 is not at most 65535"),
        ("serve: {prot: 1}", "did you mean 'port'"),
    ],
)
def test_a_wrong_declaration_is_refused(text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=found) as refused:
        pipeline(tmp_path, text + "\n")
    assert "hunter2" not in str(refused.value)


def test_where_it_is_served_is_no_part_of_what_a_pipeline_means(tmp_path: Path) -> None:
    plain = pipeline(tmp_path)
    served = pipeline(tmp_path, "serve: {host: 0.0.0.0, tokens: {read: env:T}}\n")
    assert served.serve.tokens == {"read": "env:T"}
    assert served.digest == plain.digest


def test_a_token_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_TOKEN", raising=False)
    short, good, binary = tmp_path / "short", tmp_path / "good", tmp_path / "binary"
    short.write_text("too short\n")
    good.write_text("0123456789abcdef\n")
    binary.write_bytes(b"\xff" * 32)
    for reference, found in {
        "env:NO_TOKEN": "in env:NO_TOKEN; there is no such variable",
        f"file:{tmp_path / 'none'}": "No such file",
        f"file:{short}": "no line of 16 or more printable ASCII characters; make one by: openssl",
        f"file:{binary}": "no UTF-8 text",
        f"file:{tmp_path}": "Is a directory",
    }.items():
        with pytest.raises(AccessError, match=found):
            Secret.of(reference)
    assert Secret.of(f"file:{good}").reveal() == "0123456789abcdef"


def test_a_token_is_compared_whole_whatever_it_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    equals = Secret.equals

    def spy(self: Secret, other: bytes) -> bool:
        compared.append(other)
        return equals(self, other)

    monkeypatch.setattr(Secret, "equals", spy)
    access = Access({role: Secret(TOKENS[role]) for role in ROLES}, frozenset())
    assert access.roles(f"Bearer {TOKENS['read']}".encode()) == {"read"}
    assert len(compared) == len(ROLES)
    with pytest.raises(Refused):
        access.check(b"Bearer nothing", frozenset(ROLES), "asked")


def test_the_client_finds_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, token in TOKENS.items():
        monkeypatch.setenv(f"TOKEN_{role.upper()}", token)
    with processing(tmp_path, SERVE) as process:
        server = Server(process)
        server.start()
        write_json(tmp_path / "address.json", server.told())
        assert "canary" not in (tmp_path / "address.json").read_text()
        with closing(Client(tmp_path / "address.json")) as client:
            assert client.sql("SELECT 7 AS x").to_pylist() == [{"x": 7}]
            monkeypatch.delenv("TOKEN_ADMIN")
            with pytest.raises(AccessError, match="secret in env:TOKEN_ADMIN; there is no such"):
                client.sql("SELECT 7 AS x")
        server.stop()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more = f"serve: {{port: {taken.getsockname()[1]}}}\n"
        with (
            processing(tmp_path, more) as process,
            pytest.raises(Exception, match=r"asked to serve at 127.0.0.1 port .* in use"),
        ):
            Server(process)
