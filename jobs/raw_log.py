"""The raw log below a state folder: of the broker that runs there, or of one for as long as needed.

::

    a pipeline is up   ──► its broker is asked
    nothing runs here  ──► a broker is started over what is kept, and stopped
    nothing is kept    ──► every topic is empty: history is in files
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.history import LOG
from headrace.jobs import broker, transport
from headrace.jobs.backfill import Log
from headrace.jobs.state import locked
from headrace.jobs.verify import read_log
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.source import Source

__all__ = ["bootstrap", "reader"]


@contextmanager
def bootstrap(state: Path, what: str) -> Iterator[str | None]:
    """Give the address of the broker of a state folder, for `what` is done; None without one."""
    folder = state / "broker"
    address = broker.listening(folder)
    if address is not None:
        yield address
    elif not (folder / "formatted").exists():
        yield None
    else:
        with locked(state, what, resume=True), broker.running(folder) as started:
            yield started.address


def reader(address: str | None) -> Log:
    """Read topics from a broker; without one every topic is empty."""

    def log(source: Source) -> tuple[pa.Table, int]:
        if address is None:
            return LOG.empty_table(), 0
        try:
            partitions = transport.partitions(address, source.topic)
        except EnvironmentProblem:
            return LOG.empty_table(), 0  # a source that is new: nobody has written to it
        return read_log(address, source.topic), partitions

    return log
