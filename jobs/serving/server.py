"""The servers of the store process: HTTP and Arrow Flight, in threads beside its own.

Both answer from what is committed, on cursors of their own; neither waits for the other, nor does
the process wait for them.
"""

from __future__ import annotations

import socket
import threading

import uvicorn

from headrace.jobs.serving.access import Access
from headrace.jobs.serving.endpoint import ARROW
from headrace.jobs.serving.flight import FlightServer
from headrace.jobs.serving.gate import Gate
from headrace.jobs.serving.inference import Inference
from headrace.jobs.serving.openapi import described
from headrace.jobs.serving.routes import Routes
from headrace.jobs.serving.rows import Rows
from headrace.jobs.store import StoreProcess
from headrace.operators.errors import EnvironmentProblem

__all__ = ["ARROW", "Server"]

_STOP_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30
_MOST_CONNECTIONS = 512
_EVERY = ("0.0.0.0", "::")  # noqa: S104  # compared with, not bound to


class Server:
    """Serves a store process from threads beside it.

    Parameters
    ----------
    process
        What is served, and by its pipeline's `serve` where, and to whom.

    Raises
    ------
    AccessError
        Where anybody could ask, or a token that is declared is not there.
    EnvironmentProblem
        Where the address is not free.

    """

    def __init__(self, process: StoreProcess) -> None:
        serve = process.pipeline.serve
        access = Access.of(serve)
        self._serve = serve
        rows = Rows(process.store.declared)
        routes = Routes(process, rows, process.metrics)
        endpoints = [*routes.endpoints(), *Inference(process, rows, routes).endpoints()]
        self._flight = FlightServer(
            process, rows, access, process.metrics, host=serve.host, port=serve.flight_port
        )
        try:
            self._socket = _listen(serve.host, serve.port)
        except EnvironmentProblem:
            self._flight.shutdown()
            raise
        self.port: int = self._socket.getsockname()[1]
        self.gate = Gate(described(endpoints, process.pipeline.name), access, process.metrics)
        config = uvicorn.Config(
            self.gate,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def told(self) -> dict[str, str]:
        """Say how programs of this machine ask: the addresses, and where the token is."""
        host = "127.0.0.1" if self._serve.host in _EVERY else self._serve.host
        host = f"[{host}]" if ":" in host else host
        told = {"address": f"{host}:{self.port}", "flight": f"{host}:{self._flight.port}"}
        for role in ("admin", "read", "predict"):
            if role in self._serve.tokens:
                return {**told, "token": self._serve.tokens[role]}
        return told

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way, then end."""
        self._server.should_exit = True
        self._flight.shutdown()
        self._thread.join(2 * _STOP_SECONDS)


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
