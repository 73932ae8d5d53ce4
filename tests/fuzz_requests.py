"""Malformed requests against a store process of its own: HTTP and Flight; ``make fuzz``.

::

    schema ─ schemathesis ─┐
    good bodies ─ bytes ───┼─► HTTP ─┐
    good requests ─ bytes ─┘ socket  ├─► a process that serves ─► refused, or answered; never failed
    good Flight messages ─ bytes ────┘

What is sent is wrong in most cases, and may be right by chance. No answer may be a failure of the
server (500), the process may not end, and good requests must be answered the same all the while.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc

from headrace.jobs.machine.state import write_json
from headrace.jobs.serving.server import Server
from tests.jobs.test_server import processing

__all__ = ["Served", "main", "run", "served"]

_ARROW = "application/vnd.apache.arrow.stream"
_FLIGHT = "/arrow.flight.protocol.FlightService/"
_SECONDS = 60.0
_GOOD_EVERY = 500
_SHOWN = 20
_SHARES = {"bodies": 0.45, "sockets": 0.15, "arrow": 0.15, "flight": 0.23, "schema": 0.02}
_ANSWERED = {200, 400, 403, 404, 405, 408, 413, 414, 415, 429, 503}
_WORDS = (
    *(b"null", b"true", b"-0", b"1e999", b"NaN", b"9223372036854775808", b'"\\ud800"', b"[]"),
    *(b"{}", b"[[", b"\x00", b"\xff\xfe", b'"at"', b'"rows"', b"SELECT", b"'", b'"', b"--"),
    *(b"; DROP TABLE decisions", b"../../etc/passwd", b"%00", b"${env:HOME}", b"\r\n\r\n"),
)
_QUERIES = (
    'SELECT "user", rows FROM views.clicks ORDER BY ALL',
    "SELECT COUNT(*) AS n FROM decisions LEFT JOIN examples USING (seq)",
    "WITH c AS (SELECT * FROM features.clicks(120000)) SELECT * FROM c",
    "SELECT s.x[1] FROM (SELECT {'x': [1, 2]} AS s) WHERE 1 IN (SELECT range FROM range(3))",
)


@dataclass
class Served:
    """A store process that serves, as another process."""

    process: subprocess.Popen[str]
    http: str
    flight: str
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def rss_bytes(self) -> int:
        """Give its memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("ascii", "replace")
        return next(
            int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmRSS")
        )

    def count(self, kind: str, status: object, what: object, *, failed: bool) -> None:
        """Count an answer; keep what failed."""
        self.statuses[f"{kind} {status}"] += 1  # each kind has a thread, and keys of its own
        if failed and len(self.failures) < _SHOWN:
            self.failures.append(f"{kind} {status}: {what!r:.300}")


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Serve the small pipeline of the tests from a process of its own."""
    program = str(Path(__file__).with_name("__main__.py"))
    with (folder / "served.log").open("wb") as log:
        argv = [sys.executable, program, "fuzz_requests", str(folder)]
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "serving\n", (folder / "served.log").read_text()
        told = orjson.loads((folder / "address.json").read_bytes())
        yield Served(process, told["address"], told["flight"])
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def main(arguments: list[str]) -> int:
    """Be the process that serves: say so, and serve until the input ends."""
    folder = Path(arguments[0])
    with processing(folder) as process:
        server = Server(process)
        server.start()
        write_json(folder / "address.json", server.told())
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        sys.stdin.read()
        server.stop()
    return 0


def run(count: int, seed: int, folder: Path) -> tuple[int, Sequence[str]]:
    """Send `count` requests; give how many were sent, and what went wrong."""
    kinds: dict[str, Callable[[Served, int, random.Random], None]] = {
        "bodies": _bodies,
        "sockets": _sockets,
        "arrow": _arrow,
        "flight": _flight,
        "schema": _schema,
    }
    with served(folder) as one:
        good, memory = _Good(one), [one.rss_bytes()]

        def all_of(kind: str) -> int:
            rest, part, sent = max(1, int(count * _SHARES[kind])), 0, 0
            while rest and one.process.poll() is None:
                some = min(_GOOD_EVERY, rest)
                kinds[kind](one, some, random.Random(f"{seed} {kind} {part}"))  # noqa: S311  # no secret
                good.check(f"after {kind}")
                if one.process.poll() is None:
                    memory.append(one.rss_bytes())
                rest, part, sent = rest - some, part + 1, sent + some
            return sent

        # All kinds at once: while one is answered another is written.
        with ThreadPoolExecutor(len(kinds)) as pool:
            sent = sum(pool.map(all_of, kinds))
        if one.process.poll() is not None:
            one.failures.append(f"the process ended with {one.process.returncode}")
        told = ", ".join(f"{size >> 20}" for size in (memory[0], memory[-1], max(memory)))
        sys.stdout.write(f"  memory: MiB at first, at last and at most: {told}\n")
        told = ", ".join(f"{name}: {n:,}" for name, n in sorted(one.statuses.items()))
        sys.stdout.write(f"  answers: {told}\n")
        return sent, one.failures


class _Good:
    """Requests that are right, and what was answered before the others came."""

    def __init__(self, one: Served) -> None:
        self._one = one
        self._answers = self._ask()

    def _ask(self) -> list[bytes]:
        with httpx.Client(base_url=f"http://{self._one.http}", timeout=_SECONDS) as http:
            answers = [http.request(m, path, content=body) for m, path, body in _good_requests()]
        assert all(answer.is_success for answer in answers), answers
        return [answer.content for answer in answers]

    def check(self, when: str) -> None:
        """Ask again: the same must come."""
        if self._one.process.poll() is None and self._ask() != self._answers:
            self._one.failures.append(f"{when} a good request was answered otherwise")


@cache
def _good_requests() -> list[tuple[str, str, bytes]]:
    rows = [{"at": 120_000, "user": "u", "page": "a"}, {"at": 119_999, "user": "v", "hour": 7}]
    tensors = [
        {"name": "at", "shape": [2], "datatype": "INT64", "data": [120_000, 60_000]},
        {"name": "user", "shape": [2], "datatype": "BYTES", "data": ["u", "v"]},
    ]
    bodies: list[tuple[str, object]] = [
        ("/v1/features", {"rows": rows, "features": ["n", "last_x"], "status": True}),
        ("/v1/predict", {"rows": rows}),
        *(("/v1/sql", {"query": query}) for query in _QUERIES),
        ("/v2/models/small/infer", {"id": "x", "inputs": tensors, "outputs": [{"name": "p"}]}),
    ]
    return [
        ("GET", "/v1/why?decision=d0", b""),
        ("GET", "/v2/models/small", b""),
        *(("POST", path, orjson.dumps(body)) for path, body in bodies),
        ("POST", "/v1/training", _stream()),
    ]


def _decisions() -> pa.Table:
    users, pages = ["u", "v", None, "nobody"], ["a", None, "b", "a"]
    return pa.table({"at": [120_000, 119_999, 60_000, 0], "user": users, "page": pages})


@cache
def _stream() -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, _decisions().schema) as writer:
        writer.write_table(_decisions(), max_chunksize=2)
    return bytes(sink.getvalue().to_pybytes())


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change bytes: flip, cut, put in, repeat, take out; one to four times."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif kind == 2:
            changed[at:at] = chance.choice(_WORDS)
        elif kind == 3:
            del changed[at : at + chance.randint(1, 16)]
        elif kind == 4:
            changed[at:at] = changed[max(0, at - chance.randint(1, 64)) : at] * chance.randint(1, 9)
        elif kind == 5 and chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def _bodies(one: Served, count: int, chance: random.Random) -> None:
    """Send bodies that are wrong in a few bytes, to the right places and to others."""
    good = [each for each in _good_requests() if each[0] == "POST" and each[1] != "/v1/training"]
    with httpx.Client(base_url=f"http://{one.http}", timeout=_SECONDS) as http:
        for _ in range(count):
            _, path, body = chance.choice(good)
            if chance.random() < 0.1:
                path = chance.choice(good)[1]
            sent = mutated(body, chance)
            _told(one, "bodies", partial(http.post, path, content=sent), sent)


def _arrow(one: Served, count: int, chance: random.Random) -> None:
    """Send Arrow streams that are wrong in a few bytes."""
    headers = {"content-type": _ARROW}
    with httpx.Client(base_url=f"http://{one.http}", timeout=_SECONDS, headers=headers) as http:
        for _ in range(count):
            sent = mutated(_stream(), chance)
            _told(one, "arrow", partial(http.post, "/v1/training", content=sent), sent)


def _told(one: Served, kind: str, ask: Callable[[], httpx.Response], what: object) -> None:
    """Count an answer over HTTP: a refusal says why."""
    try:
        answer = ask()
    except httpx.HTTPError as error:
        one.count(kind, type(error).__name__, what, failed=True)
        return
    status = answer.status_code
    said = status == 200 or (status == 503 and b"ready" in answer.content)
    if not said:
        with contextlib.suppress(orjson.JSONDecodeError):
            told = orjson.loads(answer.content)
            said = all(told.get(part) for part in ("error", "asked", "found", "do"))
    one.count(kind, status, what, failed=status not in _ANSWERED or not said)


def _sockets(one: Served, count: int, chance: random.Random) -> None:
    """Send requests that are no HTTP any more in places."""
    host, _, port = one.http.rpartition(":")
    for _ in range(count):
        method, path, body = chance.choice(_good_requests())
        head = f"{method} {path} HTTP/1.1\r\nHost: {one.http}\r\nContent-Length: {len(body)}\r\n"
        more = "Connection: close\r\nAccept: */*\r\n\r\n"
        sent = mutated((head + more).encode(), chance) + body
        with socket.create_connection((host, int(port)), timeout=_SECONDS) as plain:
            answer = _exchanged(plain, sent)
        status = answer[9:12].decode("ascii", "replace") if answer else "closed"
        failed = status not in {"closed", "100", *map(str, _ANSWERED)}
        one.count("sockets", status, sent, failed=failed)


def _exchanged(plain: socket.socket, sent: bytes) -> bytes:
    """Send all, say that it is all, and give the head of what comes back."""
    with contextlib.suppress(ConnectionError):
        plain.sendall(sent)
        plain.shutdown(socket.SHUT_WR)
        return plain.recv(4096)
    return b""


def _schema(one: Served, count: int, chance: random.Random) -> None:
    """Send what the description of the interface makes: right by it, and wrong by it."""
    import hypothesis
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.core.result import Ok

    with httpx.Client(base_url=f"http://{one.http}", timeout=_SECONDS) as http:
        schema = schemathesis.openapi.from_dict(http.get("/openapi.json").json())
        found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        operations = [each for each in found if each.path != "/v1/training"]  # Arrow: `_arrow`
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                strategy = operation.as_strategy(generation_mode=mode)
                each = max(1, count // (2 * len(operations)))
                settings = hypothesis.settings(
                    max_examples=each,
                    database=None,
                    deadline=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                    phases=[hypothesis.Phase.generate],
                )

                @hypothesis.seed(chance.randrange(1 << 30))
                @settings
                @hypothesis.given(strategy)
                def send(case: Any) -> None:
                    _told(one, "schema", partial(http.send, _request(http, case)), case)

                # What takes nothing cannot be asked wrongly.
                with (
                    warnings.catch_warnings(),
                    contextlib.suppress(hypothesis.errors.Unsatisfiable),
                ):
                    warnings.simplefilter("ignore")
                    send()


def _request(http: httpx.Client, case: Any) -> httpx.Request:
    body = case.body
    if not isinstance(body, bytes):
        body = b"" if type(body).__name__ == "NotSet" else json.dumps(body, default=str).encode()
    return http.build_request(
        case.method, case.formatted_path, params=dict(case.query or {}), content=body
    )


def _flight(one: Served, count: int, chance: random.Random) -> None:
    """Send Flight messages that are wrong in a few bytes: tickets, descriptors, record batches."""
    with grpc.insecure_channel(one.flight) as channel:
        for i in range(count):
            kind = ("DoGet", "GetFlightInfo", "DoExchange", "DoExchange", "DoAction")[i % 5]
            if kind == "DoExchange":
                messages = [mutated(m, chance) if chance.random() < 0.5 else m for m in _exchange()]
                call = channel.stream_stream(_FLIGHT + kind)(iter(messages), timeout=_SECONDS)
            else:
                messages = [mutated(_command(kind, chance), chance)]
                if kind == "GetFlightInfo":
                    call = iter([channel.unary_unary(_FLIGHT + kind).future(messages[0])])
                else:
                    call = channel.unary_stream(_FLIGHT + kind)(messages[0], timeout=_SECONDS)
            _heard(one, call, messages)


def _heard(one: Served, call: Iterator[Any], messages: Sequence[bytes]) -> None:
    try:
        for answer in call:
            if isinstance(answer, grpc.Future):
                answer.result(_SECONDS)
        status, said = "OK", ""
    except grpc.RpcError as error:
        status, said = error.code().name, error.details() or ""
    failed = status in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and "under way" not in said
    one.count("flight", status, (said, messages), failed=failed or "failed here" in said)


def _command(kind: str, chance: random.Random) -> bytes:
    command = orjson.dumps({"sql": chance.choice(_QUERIES)})
    if kind == "DoGet":
        return _field(1, command)  # a ticket
    if kind == "DoAction":
        return _field(1, b"drop") + _field(2, b"all")
    if chance.random() < 0.3:
        return b"\x08\x01" + _field(3, b"views") + _field(3, b"clicks")  # a path
    return b"\x08\x02" + _field(2, command)


def _exchange() -> list[bytes]:
    """Write a call's messages: schema with the command, then record batches."""
    descriptor = b"\x08\x02" + _field(2, b'{"features": ["n", "total"]}')
    messages = []
    for i, message in enumerate(ipc.MessageReader.open_stream(_stream())):
        told = _field(1, descriptor) if i == 0 else b""
        body = b"" if message.body is None else message.body.to_pybytes()
        messages.append(told + _field(2, message.metadata.to_pybytes()) + _field(1000, body))
    return messages


def _field(number: int, value: bytes) -> bytes:
    """Write a protobuf field of bytes."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])
