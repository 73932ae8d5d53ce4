"""A server of HTTP: a gate at an address, in a thread beside the process's own."""

from __future__ import annotations

import socket
import threading

import uvicorn

from headrace.jobs.serving.gate import Gate
from headrace.operators.errors import EnvironmentProblem

__all__ = ["Listening", "reached_at"]

_STOP_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 512
_EVERY = ("0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


class Listening:
    """Answers what a gate lets through.

    Parameters
    ----------
    gate
        What is answered, and to whom.
    host, port
        Where it listens; port 0 is any that is free, which `port` then says.

    Raises
    ------
    EnvironmentProblem
        Where the address is not free.

    """

    def __init__(self, gate: Gate, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            gate,
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
        """Take no more requests."""
        self._server.should_exit = True

    def wait(self) -> None:
        """Wait until the requests under way are answered."""
        self._thread.join(2 * _STOP_SECONDS)


def reached_at(host: str) -> str:
    """Give the host by which programs of this machine reach what listens at one.

    >>> reached_at("0.0.0.0"), reached_at("::1"), reached_at("a.example.com")
    ('127.0.0.1', '[::1]', 'a.example.com')
    """
    host = "127.0.0.1" if host in _EVERY else host
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        asked = f"asked to serve at {host} port {port}"
        do = "stop what has it, or choose another under serve:"
        raise EnvironmentProblem(asked, str(error.strerror or error), do) from error
    # asyncio sets it only where a socket names its protocol; an answer in two parts then waits for
    # the client's delayed acknowledgement: 40 ms a request. Connections have it from here.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
