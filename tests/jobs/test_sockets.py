"""A socket outlives whoever answers at it: nobody is refused while one is replaced by the next."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from headrace.jobs.machine.processes import Process, Supervisor
from headrace.jobs.machine.sockets import SOCKET, listen
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.access import ANYBODY, Access
from headrace.jobs.serving.endpoint import Answer, Asked, Endpoint, json
from headrace.jobs.serving.gate import Gate
from headrace.jobs.serving.listening import Listening
from headrace.jobs.serving.metrics import Metrics

# It answers whoever connects with its id.
ANSWERS = f"""
import os, socket
listening = socket.socket(fileno=int(os.environ[{SOCKET!r}]))
while True:
    connection, _ = listening.accept()
    with connection: connection.sendall(str(os.getpid()).encode())
"""


class Asking:
    """Asks without pause, and never twice: on one connection, or on a new one each time."""

    def __init__(self, port: int, *, keeps: bool) -> None:
        self.answers, self.failed = 0, list[str]()
        self._url, self._keeps = f"http://127.0.0.1:{port}/slow", keeps
        self._stop = threading.Event()

    def run(self) -> None:
        """Ask until it is stopped."""
        headers = {} if self._keeps else {"connection": "close"}
        with httpx.Client(timeout=20.0, trust_env=False, headers=headers) as client:
            while not self._stop.is_set():
                try:
                    right = client.get(self._url).json() == {"right": True}
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    continue
                self.answers += right

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask for as long as the context lasts."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@pytest.mark.parametrize("keeps", [True, False], ids=["one connection", "many"])
def test_no_request_fails_while_a_server_is_replaced(keeps: bool) -> None:
    asked = threading.Semaphore(0)

    def slow(_: Asked) -> Answer:
        asked.release()
        return json({"right": True})

    def gate() -> Gate:
        endpoint = Endpoint("GET", "/slow", "", slow, ANYBODY)
        return Gate([endpoint], Access({}, frozenset()), Metrics())

    with closing(listen("127.0.0.1", 0)) as ours:
        asking = Asking(ours.getsockname()[1], keeps=keeps)
        with asking.asking():
            for _ in range(6):
                listening = Listening(gate(), "127.0.0.1", 0, ours.dup())
                listening.start()
                for _ in range(20):
                    assert asked.acquire(timeout=20)
                listening.ask_to_stop()
                listening.wait()
            last = Listening(gate(), "127.0.0.1", 0, ours.dup())
            last.start()
        last.ask_to_stop()
        last.wait()
    assert asking.failed == []
    assert asking.answers >= 120


def answer(connection: socket.socket) -> bytes:
    """Read one answer, whole."""
    said = b""
    while not said.endswith(b'{"right":true}'):
        part = connection.recv(4096)
        assert part, said
        said += part
    return said


def test_a_request_that_came_in_half_is_answered_and_told_farewell() -> None:
    endpoint = Endpoint("GET", "/x", "", lambda _: json({"right": True}), ANYBODY)
    gate = Gate([endpoint], Access({}, frozenset()), Metrics())
    listening = Listening(gate, "127.0.0.1", 0)
    listening.start()
    with socket.create_connection(("127.0.0.1", listening.port), 20.0) as connection:
        asked = f"GET /x HTTP/1.1\r\nhost: 127.0.0.1:{listening.port}\r\n\r\n".encode()
        connection.sendall(asked)
        assert b"connection: close" not in answer(connection)
        connection.sendall(asked[:20])
        listening.ask_to_stop()
        stopping = threading.Thread(target=listening.wait)
        stopping.start()
        connection.sendall(asked[20:])
        assert b"connection: close" in answer(connection)
        stopping.join()


def test_who_connects_after_a_kill_is_answered_by_the_next_process(tmp_path: Path) -> None:
    def told() -> int:
        with socket.create_connection(ours.getsockname(), 20.0) as connection:
            return int(connection.recv(20) or b"0")

    argv = [sys.executable, "-c", ANSWERS]
    with closing(listen("127.0.0.1", 0)) as ours, Supervisor() as supervisor:
        files = {SOCKET: ours.fileno()}
        supervisor.start(Process("store", argv, tmp_path / "store.log", files=files))
        first = supervisor.status()["store"].pid
        assert told() == first
        supervisor.signal("store", signal.SIGKILL)
        wait_until(lambda: supervisor.status()["store"].pid != first, 20, "the end of the first")
        second = told()
        assert second == supervisor.status()["store"].pid != first
