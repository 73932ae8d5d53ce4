"""Sockets that the supervisor listens at for a process, which may be replaced meanwhile.

The process finds the number of its own in a variable. Whoever connects while there is no process
waits in the socket until there is one: for up to `BACKLOG` of them nothing is refused.
"""

from __future__ import annotations

import os
import socket

from headrace.operators.errors import EnvironmentProblem

__all__ = ["BACKLOG", "SOCKET", "handed", "listen"]

SOCKET = "HEADRACE_SOCKET"
"""The variable with the socket's number."""
BACKLOG = 1024


def handed() -> socket.socket | None:
    """Give the socket that the supervisor handed to this process, if it did.

    >>> handed() is None
    True
    """
    number = os.environ.get(SOCKET)
    return None if number is None else socket.socket(fileno=int(number))


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens; an EnvironmentProblem where the address is not free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        asked = f"asked to serve at {host} port {port}"
        do = "stop what has it, or choose another under serve:"
        raise EnvironmentProblem(asked, str(error.strerror or error), do) from error
    # asyncio sets it only where a socket names its protocol; an answer in two parts then waits for
    # the client's delayed acknowledgement: 40 ms a request. Connections have it from here.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
