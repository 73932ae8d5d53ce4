"""A server of HTTP: a gate at an address, in a thread beside the process's own.

::

    supervisor: the socket ──► store ── stops: takes no more, answers what it took, bids farewell
        │ connections wait in it while there is no store                       (connection: close)
        └────────────────────► store, the next: answers them

The socket that outlives the process is its supervisor's (`machine/sockets.py`); without one the
process opens its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import uvicorn

from headrace.jobs.machine.sockets import BACKLOG, listen
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.serving.gate import Gate
from headrace.operators.errors import EnvironmentProblem

__all__ = ["Listening", "reached_at"]

_STOP_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 512
_FAREWELL_SECONDS = 0.5
"""How long who keeps a connection has for one more request, whose answer says that it is over."""
_EVERY = ("0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


class Listening:
    """Answers what a gate lets through.

    Parameters
    ----------
    gate
        What is answered, and to whom.
    host, port
        Where it listens; port 0 is any that is free, which `port` then says.
    given
        A socket that listens already, instead.

    Raises
    ------
    EnvironmentProblem
        Where the address is not free.

    """

    def __init__(
        self, gate: Gate, host: str, port: int, given: socket.socket | None = None
    ) -> None:
        self._gate = gate
        self._socket = given or listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            gate,
            backlog=BACKLOG,
            log_config=None,  # its lines are written as all of the process are
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Take no more connections; those that are there end with their next answer."""
        self._gate.ending = True
        for each in getattr(self._server, "servers", ()):  # none before it has begun
            each.get_loop().call_soon_threadsafe(each.close)

    def wait(self) -> None:
        """Wait until the requests under way are answered."""
        left = self._server.server_state.connections
        with contextlib.suppress(EnvironmentProblem):
            wait_until(lambda: not left, _FAREWELL_SECONDS, "the last requests")
        self._server.should_exit = True
        self._thread.join(2 * _STOP_SECONDS)


def reached_at(host: str) -> str:
    """Give the host by which programs of this machine reach what listens at one.

    >>> reached_at("0.0.0.0"), reached_at("::1"), reached_at("a.example.com")
    ('127.0.0.1', '[::1]', 'a.example.com')
    """
    host = "127.0.0.1" if host in _EVERY else host
    return f"[{host}]" if ":" in host else host
