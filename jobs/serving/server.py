"""The servers of the store process: HTTP and Arrow Flight, in threads beside its own.

Both answer from what is committed, on cursors of their own; neither waits for the other, nor does
the process wait for them.
"""

from __future__ import annotations

import socket
from functools import partial

from headrace.jobs.serving.access import Access
from headrace.jobs.serving.endpoint import ARROW
from headrace.jobs.serving.flight import FlightServer
from headrace.jobs.serving.gate import Gate
from headrace.jobs.serving.inference import Inference
from headrace.jobs.serving.listening import Listening, reached_at
from headrace.jobs.serving.openapi import described
from headrace.jobs.serving.routes import Routes
from headrace.jobs.serving.rows import Rows
from headrace.jobs.serving.store_facts import StoreFacts
from headrace.jobs.store import StoreProcess
from headrace.operators.errors import EnvironmentProblem
from headrace.pipelines.pipeline import Serve

__all__ = ["ARROW", "Server", "told_of"]


class Server:
    """Serves a store process from threads beside it.

    Parameters
    ----------
    process
        What is served, and by its pipeline's `serve` where, and to whom.

    given
        A socket that listens already, for HTTP.

    Raises
    ------
    AccessError
        Where anybody could ask, or a token that is declared is not there.
    EnvironmentProblem
        Where the address is not free.

    """

    def __init__(self, process: StoreProcess, given: socket.socket | None = None) -> None:
        serve = process.pipeline.serve
        access = Access.of(serve)
        self._serve = serve
        rows = Rows(process.store.declared)
        routes = Routes(process, rows, process.metrics)
        endpoints = [*routes.endpoints(), *Inference(process, rows, routes).endpoints()]
        self._flight = FlightServer(
            process, rows, access, process.metrics, host=serve.host, port=serve.flight_port
        )
        gate = Gate(described(endpoints, process.pipeline.name), access, process.metrics)
        try:
            self._http = Listening(gate, serve.host, serve.port, given)
        except EnvironmentProblem:
            self._flight.shutdown()
            raise
        self.gate, self.port = gate, self._http.port
        self.collected = partial(process.metrics.collected, StoreFacts(process))
        """Gives what `/metrics` tells."""

    def told(self) -> dict[str, str]:
        """Say how programs of this machine ask: the addresses, and where the token is."""
        host = reached_at(self._serve.host)
        return told_of(self._serve, f"{host}:{self.port}", f"{host}:{self._flight.port}")

    def start(self) -> None:
        """Begin to serve."""
        self._http.start()

    def stop(self) -> None:
        """Finish the requests under way, then end."""
        self._http.ask_to_stop()
        self._flight.shutdown()
        self._http.wait()


def told_of(serve: Serve, address: str, flight: str) -> dict[str, str]:
    """Say how programs of this machine ask what is served at these addresses."""
    told = {"address": address, "flight": flight}
    for role in ("admin", "read", "predict"):
        if role in serve.tokens:
            return {**told, "token": serve.tokens[role]}
    return told
