"""Arrow Flight of the store process: features and questions as streams of record batches.

::

    do_exchange  {"features": [names] or null}  decisions ─► features, batch by batch, in order
    do_get       {"sql": "SELECT …"}            ─► its rows
    get_flight_info, list_flights               a command, or the path of a table ─► schema, ticket

Commands and tickets are JSON. A token comes in the header `authorization`, and is looked at before
anything else is read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.flight as flight

from headrace.feature_store.questions import Busy
from headrace.feature_store.shards import Unreachable
from headrace.jobs.serving.access import READ, ROLES, Access, Refused, Role
from headrace.jobs.serving.metrics import Counts, Metrics
from headrace.jobs.serving.rows import DAMAGED, Rows
from headrace.jobs.store import StoreProcess
from headrace.operators.engines.duckdb import quote
from headrace.operators.errors import (
    EnvironmentProblem,
    HeadraceError,
    StoreError,
    UnknownName,
)

__all__ = ["Answering", "FlightServer", "batches_of", "command_of", "question_of", "whole_batch"]

_log = logging.getLogger(__name__)
_ACCESS = "access"
_MOST_AT_ONCE = 16
_MOST_COMMAND_BYTES = 1 << 20
_MOST_FEATURES = 500
_CHUNK_ROWS = 65_536
_UNAUTHORISED, _FORBIDDEN, _BUSY, _AWAY, _BAD, _FAILED = 401, 403, 429, 503, 400, 500
# Not ArrowInvalid for what is wrong: to that pyarrow adds the traceback, with the server's paths.
_ERRORS = {
    _UNAUTHORISED: flight.FlightUnauthenticatedError,
    _FORBIDDEN: flight.FlightUnauthorizedError,
    _BUSY: flight.FlightUnavailableError,
    _AWAY: flight.FlightUnavailableError,
}


class Answering(flight.FlightServerBase):  # type: ignore[misc]  # pyarrow ships no types
    """Serves over Arrow Flight from threads of its own; refuses what it has no method for.

    Parameters
    ----------
    access
        Who may ask what.
    metrics
        Counts what was answered.
    host, port
        Where it listens; port 0 is any that is free, which `port` then says.
    most_at_once
        How many calls may be under way.

    Raises
    ------
    EnvironmentProblem
        Where the address is not free.

    """

    def __init__(
        self, access: Access, metrics: Counts, *, host: str, port: int, most_at_once: int
    ) -> None:
        self._metrics, self._most_at_once = metrics, most_at_once
        self._room = threading.BoundedSemaphore(most_at_once)
        address = f"grpc://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            super().__init__(address, middleware={_ACCESS: _Doorman(access)})
        except pa.ArrowException as error:
            asked = f"asked to serve Arrow Flight at {host} port {port}"
            do = "stop what has it, or choose another flight_port under serve:"
            raise EnvironmentProblem(asked, " ".join(str(error).split())[:200], do) from error

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Refuse: nothing is written here."""
        del descriptor, reader, writer
        with self.answering(context, "flight do_put", frozenset(ROLES)):
            asked, found = "asked to put rows", "nothing is written over Flight"
            raise StoreError(asked, found, "write to the pipeline's topics; features: do_exchange")

    def do_action(self, context: Any, action: Any) -> Any:
        """Refuse: there are no actions."""
        with self.answering(context, "flight do_action", frozenset(ROLES)):
            raise UnknownName(kind="action", name=str(action.type)[:100], known=[])

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Refuse: there are no flights."""
        with self.answering(context, "flight get_flight_info", frozenset(ROLES)):
            raise UnknownName(kind="flight", name=str(descriptor)[:100], known=[])

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        """List none."""
        del criteria
        with self.answering(context, "flight list_flights", frozenset(ROLES)):
            return iter(())

    def list_actions(self, context: Any) -> list[Any]:
        """List none."""
        with self.answering(context, "flight list_actions", frozenset(ROLES)):
            return []

    @contextmanager
    def answering(self, context: Any, route: str, allowed: frozenset[Role]) -> Iterator[None]:
        """Check the caller's role, find room, and say errors as Flight says them."""
        start, code = time.perf_counter(), 200
        entered = False
        try:
            context.get_middleware(_ACCESS).check(allowed, f"asked for {route}")
            entered = self._room.acquire(blocking=False)
            if not entered:
                found = f"{self._most_at_once} calls are under way, as many as may"
                raise Refused(_BUSY, f"asked for {route}", found, "ask again in a second")
            yield
        except HeadraceError as error:
            code = _code(error)
            raise _ERRORS.get(code, flight.FlightServerError)(str(error)) from None
        except DAMAGED as error:
            code = _BAD
            asked = f"asked for {route}; the stream cannot be read"
            said = f"{asked}: {' '.join(str(error).split())[:300]}; mend it"
            raise flight.FlightServerError(said) from None
        except Exception:  # noqa: BLE001  # the top of a call: the process stays up, its log says why
            code = _FAILED
            _log.exception("%s failed", route)
            said = f"asked for {route}; it failed here; look at the store's log"
            raise flight.FlightInternalError(said) from None
        finally:
            if entered:
                self._room.release()
            self._metrics.requested(route, code, time.perf_counter() - start)


class FlightServer(Answering):
    """Serves a store process.

    Parameters
    ----------
    process
        What is served.
    rows
        Reads decisions.
    access, metrics, host, port
        As of `Answering`.

    """

    def __init__(
        self,
        process: StoreProcess,
        rows: Rows,
        access: Access,
        metrics: Metrics,
        *,
        host: str,
        port: int,
    ) -> None:
        self._process, self._rows = process, rows
        self._names: tuple[str, ...] = tuple(process.store.declared.feature_schema.names)
        super().__init__(access, metrics, host=host, port=port, most_at_once=_MOST_AT_ONCE)

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Answer a question that a ticket holds."""
        with self.answering(context, "flight do_get", READ):
            table = self._process.store.catalogue.select(question_of(command_of(ticket.ticket)))
            batches = iter(table.to_batches(_CHUNK_ROWS))
            return flight.GeneratorStream(table.schema, batches)

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Give a batch of features for each batch of decisions, as of each decision's own time."""
        with self.answering(context, "flight do_exchange", frozenset(ROLES)):
            names = self._chosen(command_of(descriptor.command))
            schema = self._process.store.declared.feature_schema
            writer.begin(pa.schema([schema.field(name) for name in names]))
            for batch in batches_of(reader):
                read = self._process.store.with_features(self._rows.of_batch(batch))
                writer.write_batch(whole_batch(read.select(names)))

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Give the schema of a question's answer, or of a table's, and the ticket for it."""
        with self.answering(context, "flight get_flight_info", READ):
            if descriptor.descriptor_type is flight.DescriptorType.PATH:
                question = self._of_table(descriptor.path)
            else:
                question = question_of(command_of(descriptor.command))
            return self._info(descriptor, question)

    def list_flights(self, context: Any, criteria: bytes) -> Iterator[Any]:
        """List the store's tables."""
        del criteria
        with self.answering(context, "flight list_flights", READ):
            names = self._tables()
            paths = [flight.FlightDescriptor.for_path(*name.encode().split(b".")) for name in names]
            pairs = zip(paths, names, strict=True)
            return iter([self._info(path, _whole_of(name)) for path, name in pairs])

    def _chosen(self, command: Mapping[str, Any]) -> Sequence[str]:
        names = command.get("features")
        if set(command) - {"features"} or not isinstance(names, list | None):
            asked, do = f"asked with the command {str(command)[:100]}", 'send {"features": [names]}'
            raise StoreError(asked, "it is of another form", do)
        if names is None:
            return self._names
        for name in names:
            if not isinstance(name, str) or name not in self._names:
                raise UnknownName(kind="feature", name=str(name)[:100], known=self._names)
        if not names or len(names) > _MOST_FEATURES or len(set(names)) != len(names):
            asked = f"asked for {len(names)} features"
            found = f"1 to {_MOST_FEATURES} are answered, each once"
            raise StoreError(asked, found, "ask in parts")
        return names

    def _tables(self) -> list[str]:
        """List what may be asked for by its path, as the questions see it."""
        rows = self._process.store.catalogue.select(
            "SELECT CASE table_schema WHEN 'main' THEN table_name "
            "ELSE table_schema || '.' || table_name END AS name "
            "FROM information_schema.tables ORDER BY name"
        )
        return [str(name) for name in rows["name"].to_pylist()]

    def _of_table(self, path: Sequence[bytes]) -> str:
        name = ".".join(part.decode("utf-8", "replace") for part in path)
        known = self._tables()
        if name not in known:
            raise UnknownName(kind="table", name=name[:200], known=known)
        return _whole_of(name)

    def _info(self, descriptor: Any, question: str) -> Any:
        schema = self._process.store.catalogue.select(question, empty=True).schema
        ticket = flight.Ticket(orjson.dumps({"sql": question}))
        return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(ticket, [])], -1, -1)


def _code(error: HeadraceError) -> int:
    if isinstance(error, Busy):
        return _BUSY
    if isinstance(error, Unreachable):
        return _AWAY
    return error.status if isinstance(error, Refused) else _BAD


def batches_of(reader: Any) -> Iterator[pa.RecordBatch]:
    """Give the batches of a call's stream; what has none is a message of metadata."""
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return
        if chunk.data is not None:
            yield chunk.data


def _whole_of(table: str) -> str:
    return f"SELECT * FROM {'.'.join(map(quote, table.split('.')))}"


def whole_batch(table: pa.Table) -> pa.RecordBatch:
    """Give a table as one batch, also where it has no rows."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def command_of(text: bytes) -> dict[str, Any]:
    """Read a command or a ticket, an object of JSON."""
    asked, do = "asked with this command or ticket", 'send JSON: {"sql": …} or {"features": …}'
    if len(text) > _MOST_COMMAND_BYTES:
        raise StoreError(
            asked, f"it has more than {_MOST_COMMAND_BYTES} bytes", "send a shorter one"
        )
    try:
        command = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StoreError(asked, f"it is no JSON: {error}", do) from error
    if not isinstance(command, dict):
        raise StoreError(asked, "it is no JSON object", do)
    return command


def question_of(command: Mapping[str, Any]) -> str:
    """Give the question that a command asks."""
    question = command.get("sql")
    if set(command) != {"sql"} or not isinstance(question, str):
        asked = f"asked with the command {str(command)[:100]}"
        raise StoreError(asked, "it is of another form", 'send {"sql": "SELECT …"}')
    return question


class _Doorman(flight.ServerMiddlewareFactory):  # type: ignore[misc]  # pyarrow ships no types
    """Looks at the token as a call begins."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access

    def start_call(self, info: Any, headers: Mapping[str, Sequence[str | bytes]]) -> _Caller:
        """Say who calls; refuse who is nobody."""
        given = next(iter(headers.get("authorization", ())), "")
        token = given if isinstance(given, bytes) else given.encode("utf-8", "replace")
        try:
            self._access.check(token, frozenset(ROLES), "asked for a flight")
        except Refused as error:
            raise flight.FlightUnauthenticatedError(str(error)) from None
        if info.method is flight.FlightMethod.GET_SCHEMA:
            # To what that raises pyarrow adds the traceback, with the server's paths.
            said = "asked for get_schema; it is not served; get_flight_info has the schema"
            raise flight.FlightServerError(said)
        return _Caller(self._access, token)


class _Caller(flight.ServerMiddleware):  # type: ignore[misc]  # pyarrow ships no types
    """Who called."""

    def __init__(self, access: Access, token: bytes) -> None:
        super().__init__()
        self._access, self._token = access, token

    def check(self, allowed: frozenset[Role], asked: str) -> None:
        """Refuse another role."""
        self._access.check(self._token, allowed, asked)
