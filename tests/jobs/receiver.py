"""A collector or a lineage backend of a test's own: what is posted is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Receiver", "received"]

_HELD_SECONDS = 60.0


class Receiver:
    """What came, by path; with `holds` nothing is answered before `release`."""

    def __init__(self, *, holds: bool) -> None:
        self.posted: dict[str, list[bytes]] = {}
        self.answered = 0
        self.release = threading.Event()
        if not holds:
            self.release.set()
        self.address = ""

    def bodies(self, path: str) -> list[bytes]:
        """Give what came to a path."""
        return list(self.posted.get(path, ()))

    def take(self, path: str, body: bytes) -> None:
        """Keep it, then wait until it may be answered."""
        self.posted.setdefault(path, []).append(body)
        if not self.release.wait(_HELD_SECONDS):
            self.release.set()
        self.answered += 1


@contextmanager
def received(*, holds: bool = False) -> Iterator[Receiver]:
    """Receive at a port of this machine."""
    receiver = Receiver(holds=holds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
