"""Asking a store process over Arrow Flight: streams in and out, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.flight as flight

from headrace.jobs.serving.client import told_address
from headrace.operators.errors import StoreError

__all__ = ["FlightClient", "said_by"]


class FlightClient:
    """A store process, by the address that it wrote into the state folder.

    Parameters
    ----------
    address_file
        As in `Client`; its ``flight`` is ``"host:port"``.

    Raises
    ------
    StoreError
        By every question that the store refuses, and where it does not answer.

    """

    def __init__(self, address_file: Path) -> None:
        told = told_address(address_file)
        self._asked = f"asked the store at grpc://{told.flight}"
        self._client = flight.FlightClient(f"grpc://{told.flight}")
        headers = [] if told.token is None else [(b"authorization", told.bearer())]
        self._options = flight.FlightCallOptions(headers=headers)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def tables(self) -> list[str]:
        """List the tables that may be asked for."""
        with self._saying():
            found = list(self._client.list_flights(options=self._options))
        return [".".join(part.decode() for part in each.descriptor.path) for each in found]

    def sql(self, query: str) -> pa.RecordBatchReader:
        """Ask one SELECT; batches come as they are read."""
        ticket = flight.Ticket(orjson.dumps({"sql": query}))
        with self._saying():
            reader = self._client.do_get(ticket, self._options)
            return pa.RecordBatchReader.from_batches(reader.schema, self._chunks(reader))

    def features(
        self, decisions: pa.RecordBatchReader, names: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Give a batch of features for each batch of decisions, with `at` and the views' keys."""
        command = orjson.dumps({"features": None if names is None else list(names)})
        descriptor = flight.FlightDescriptor.for_command(command)
        with self._saying():
            writer, reader = self._client.do_exchange(descriptor, self._options)
            with writer:
                writer.begin(decisions.schema)
                for batch in decisions:
                    writer.write_batch(batch)
                    yield reader.read_chunk().data
                writer.done_writing()

    def _chunks(self, reader: Any) -> Iterator[pa.RecordBatch]:
        with self._saying():
            for chunk in reader:
                yield chunk.data

    @contextmanager
    def _saying(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowException as error:
            do = "start the pipeline, or mend what is asked"
            raise StoreError(self._asked, said_by(error), do) from error


def said_by(error: pa.ArrowException) -> str:
    """Give what Flight says is wrong, without what it adds for who looks for a fault in it."""
    said = str(error).partition(". Detail:")[0]
    return said.partition(" gRPC client debug context")[0].strip()
