"""A shard of the store as its head asks it, over Arrow Flight.

A shard that was started again has another port, or in a cluster another address behind its name:
after each failure both are looked up anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.flight as flight

from headrace.feature_store.shards import Looked, Told, Unreachable, Wanted
from headrace.jobs.serving.client import Told as Place
from headrace.jobs.serving.client import told_address
from headrace.jobs.serving.flight_client import said_by
from headrace.operators.errors import StoreError

__all__ = ["COMPLETE", "LOOK", "STATE", "ShardClient"]

Ints = npt.NDArray[np.int64]
LOOK = "look"
COMPLETE = b"complete"
"""In the metadata of an answer's schema."""
STATE = "state of "
"""Begins the name of the column of a feature's states; no feature has a space in its name."""
_LOOK_SECONDS = 2.0
_READ_SECONDS = 10.0
_SQL_SECONDS = 30.0
_ROWS_A_SECOND = 20_000
"""Fewer than are read: a large part of a training set has the time that it takes."""
_AWAY = (flight.FlightUnavailableError, flight.FlightTimedOutError, flight.FlightCancelledError)


class ShardClient:
    """A shard that is another process.

    Parameters
    ----------
    number
        Which it is.
    place
        Where it listens, or the file that says so, which is read when it is needed.

    """

    def __init__(self, number: int, place: Path | Place) -> None:
        self._number, self._place = number, place
        self._open: tuple[flight.FlightClient, list[tuple[bytes, bytes]]] | None = None

    def look(self) -> Looked:
        """Say how far it is."""
        with self._saying("how far it is"):
            client, options = self._flight(_LOOK_SECONDS)
            [answer] = client.do_action(flight.Action(LOOK, b""), options)
            told = orjson.loads(answer.body.to_pybytes())
        lag = {(topic, partition): messages for topic, partition, messages in told["lag"]}
        return Looked(told["views"], lag)

    def begin(self, wanted: Wanted, keys: Sequence[pa.Array], at: Ints) -> Callable[[], Told]:
        """Ask for features; what is given waits for the answer."""
        asked = f"features of {wanted.view}"
        command = orjson.dumps({"view": wanted.view, "features": dict(wanted.features)})
        names = [*map(str, range(len(keys))), "at"]
        batch = pa.RecordBatch.from_arrays([*keys, pa.array(at)], names)
        with self._saying(asked):
            client, options = self._flight(_READ_SECONDS + len(at) / _ROWS_A_SECOND)
            descriptor = flight.FlightDescriptor.for_command(command)
            writer, reader = client.do_exchange(descriptor, options)
            writer.begin(batch.schema)
            writer.write_batch(batch)
            writer.done_writing()

        def answered() -> Told:
            with self._saying(asked), writer:
                found = reader.read_chunk().data
                complete = int(found.schema.metadata[COMPLETE])
            values = {name: found.column(name) for name in wanted.features}
            states = {name: found.column(STATE + name).to_numpy() for name in wanted.features}
            return Told((values, states), complete)

        return answered

    def sql(self, query: str) -> pa.Table:
        """Answer one SELECT over its tables."""
        with self._saying(f"{query[:200]!r}", refuses=True):
            client, options = self._flight(_SQL_SECONDS)
            ticket = flight.Ticket(orjson.dumps({"sql": query}))
            return client.do_get(ticket, options).read_all()

    def close(self) -> None:
        """Close the connection."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[0].close()

    def _flight(self, seconds: float) -> tuple[flight.FlightClient, flight.FlightCallOptions]:
        opened = self._open
        if opened is None:
            place = self._place
            told = place if isinstance(place, Place) else told_address(place)
            # Its own subchannel: else a port that is used again waits as long as the one before.
            own = [("grpc.use_local_subchannel_pool", 1)]
            client = flight.FlightClient(f"grpc://{told.flight}", generic_options=own)
            headers = [] if told.token is None else [(b"authorization", told.bearer())]
            self._open = opened = client, headers
        client, headers = opened
        return client, flight.FlightCallOptions(timeout=seconds, headers=headers)

    @contextmanager
    def _saying(self, what: str, *, refuses: bool = False) -> Iterator[None]:
        """Say what went wrong; where it may refuse what is asked, say that as it does.

        The next call reads the address anew.
        """
        asked = f"asked shard {self._number} of the store for {what}"
        do = f"ask again later: it is started again; see `headrace logs shard-{self._number}`"
        try:
            yield
        except pa.ArrowException as error:
            if refuses and not isinstance(error, _AWAY):
                raise StoreError(asked, said_by(error), "mend what is asked") from error
            self._open = None  # others may still wait for it: it closes when they let go of it
            raise Unreachable(asked, f"it does not answer: {said_by(error)}", do) from error
        except StopIteration as error:
            self._open = None
            raise Unreachable(asked, "its answer has no end", do) from error
        except StoreError as error:
            if isinstance(error, Unreachable):
                raise
            raise Unreachable(asked, error.found, do) from error
