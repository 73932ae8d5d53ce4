"""The raw log below a state folder: of the broker that runs there, or of one for as long as needed.

::

    a pipeline is up   ──► its broker is asked
    Kafka is elsewhere ──► it is asked
    nothing runs here  ──► a broker is started over what is kept, and stopped
    nothing is kept    ──► every topic is empty: history is in files
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from headrace.feature_store.messages import LOG
from headrace.jobs import transport
from headrace.jobs.machine import broker, kafka
from headrace.jobs.machine.speaking import speak
from headrace.jobs.machine.state import holder, locked
from headrace.jobs.source_rows import read_log
from headrace.operators.source import Source
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Topics", "bootstrap"]


@contextmanager
def bootstrap(pipeline: Pipeline, state: Path, what: str) -> Iterator[str | None]:
    """Give the address of the Kafka that has the raw log, for `what` is done; None without one."""
    if holder(state) is not None:
        standing = kafka.standing(state)
        speak(pipeline, standing)
        yield standing
        return
    with locked(state, what, resume=True) as folder:
        elsewhere = kafka.elsewhere(pipeline, folder.path)
        if elsewhere is not None or not kafka.has_log(folder.path):
            speak(pipeline, elsewhere or "")
            yield elsewhere
        else:
            with broker.running(folder.path / "broker") as started:
                yield started.address


@dataclass(frozen=True)
class Topics:
    """Topics as they are now; those that nobody has made yet are empty.

    Parameters
    ----------
    address
        The broker's; without one every topic is empty.
    most_rows
        Of each topic no more than so many of the first.

    """

    address: str | None
    most_rows: int | None = None

    def log(self, source: Source) -> tuple[pa.Table, int]:
        """Read a source's topic, and say how many partitions it has."""
        partitions = self._partitions(source)
        if not partitions or self.address is None:
            return LOG.empty_table(), 0
        return read_log(self.address, source.topic, most_rows=self.most_rows), partitions

    def count(self, source: Source) -> int:
        """Count the messages of a source's topic."""
        if not self._partitions(source) or self.address is None:
            return 0
        ends = transport.ends(self.address, [source.topic])
        return sum(ends.values()) - sum(transport.begins(self.address, [source.topic]).values())

    def _partitions(self, source: Source) -> int:
        if self.address is None or source.topic not in transport.topics(self.address):
            return 0
        return transport.partitions(self.address, source.topic)
