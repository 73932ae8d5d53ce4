"""The store process's HTTP interface: status, SQL, features, predictions. Loopback only for now.

Arrow goes out as an IPC stream where the request accepts it, JSON otherwise.
"""

from __future__ import annotations

import math
import re
import socket
import threading
import time
from typing import Annotated, Any

import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
import uvicorn
from fastapi import Body, FastAPI, Header, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headrace.jobs.store import StoreProcess
from headrace.jobs.why import why
from headrace.operators.errors import HeadraceError, StoreError
from headrace.operators.source import AT, Source
from headrace.operators.types import Type

__all__ = ["ARROW", "Server"]

ARROW = "application/vnd.apache.arrow.stream"
_JSON = "application/json"
_MOST_ROWS = 1_000
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Halves of characters, which JSON can write and UTF-8 cannot."""


class Server:
    """Serves a store process from a thread beside it.

    Parameters
    ----------
    process
        What is served.
    port
        The port on 127.0.0.1; 0 takes a free one, which `port` then says.

    """

    def __init__(self, process: StoreProcess, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(_application(process), log_level="warning", access_log=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests under way, then end."""
        self._server.should_exit = True
        self._thread.join(5)


def _application(process: StoreProcess) -> FastAPI:
    application = FastAPI(title="headrace", docs_url="/docs")

    @application.exception_handler(HeadraceError)
    def refuse(_: object, error: HeadraceError) -> Response:
        parts = {"asked": error.asked, "found": error.found, "do": error.do}
        return _json({"error": str(error), **parts}, status=400)

    @application.exception_handler(RequestValidationError)
    def refuse_body(_: object, error: RequestValidationError) -> Response:
        faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        found, do = ", ".join(faults), "see /docs for what is taken"
        return refuse(None, StoreError("asked with this body", found, do))

    @application.exception_handler(HTTPException)
    def refuse_request(_: object, error: HTTPException) -> Response:
        parts = {"asked": "asked for what is not served", "found": str(error.detail)}
        parts["do"] = "see /docs for what is"
        return _json({"error": "; ".join(parts.values()), **parts}, status=error.status_code)

    @application.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @application.get("/v1/status")
    def status() -> Response:
        return _json(process.status())

    @application.post("/v1/sql")
    def sql(
        query: Annotated[str, Body(embed=True)], accept: Annotated[str, Header()] = _JSON
    ) -> Response:
        return _table(process.store.catalogue.select(query, limit=10_000_000), accept)

    @application.post("/v1/features")
    def features(rows: Annotated[list[dict[str, Any]], Body(embed=True)]) -> Response:
        read = process.store.with_features(_request(process, rows))
        names = process.store.declared.feature_schema.names
        return _json({"features": read.select(names).to_pylist(), **_freshness(process)})

    @application.get("/v1/features")
    def feature_schema() -> Response:
        return _table(process.store.declared.feature_schema.empty_table(), ARROW)

    @application.post("/v1/training")
    def training(decisions: Annotated[bytes, Body(media_type=ARROW)]) -> Response:
        read = process.store.with_features(_decisions(process, decisions))
        return _table(read.select(process.store.declared.feature_schema.names), ARROW)

    @application.post("/v1/predict")
    def predict(rows: Annotated[list[dict[str, Any]], Body(embed=True)]) -> Response:
        scorer = process.scorer
        read = process.store.with_features(_request(process, rows))
        names = process.store.declared.feature_schema.names
        answer = {
            "predictions": scorer.score(read).tolist(),
            "model_version": scorer.version,
            "features": read.select(names).to_pylist(),
        }
        return _json({**answer, **_freshness(process)})

    @application.get("/v1/why")
    def reasons(decision: str) -> Response:
        return _json(why(process, decision))

    return application


def _request(process: StoreProcess, rows: list[dict[str, Any]]) -> pa.Table:
    """Make decision rows of a request; a row without `at` is asked for now."""
    if len(rows) > _MOST_ROWS:
        asked, found = f"asked for {len(rows)} rows", f"{_MOST_ROWS} are answered at once"
        raise StoreError(asked, found, "ask in parts")
    if not rows:
        asked, found = "asked for no rows", "there is nothing to answer"
        raise StoreError(asked, found, "give one at least")
    source = process.store.declared.source
    # What a stream's operators made of earlier rows is not here: a request gives its columns.
    derived = source.derived if isinstance(source, Source) else {}
    types = {name: kind for name, kind in source.types.items() if name not in derived}
    now = time.time_ns() // 1_000_000
    schema = pa.schema([(name, kind.arrow) for name, kind in source.types.items()])
    unknown = {name for row in rows for name in row} - set(types)
    if unknown:
        asked = f"asked with {', '.join(sorted(unknown))}"
        raise StoreError(asked, f"a decision has {', '.join(types)}", "drop or rename it")
    for row in rows:
        for name, value in row.items():
            if (name == AT or value is not None) and not _is(types[name], value):
                asked = f"asked with {name} = {value!r}"
                raise StoreError(asked, f"it is no {types[name].value}", "mend it")
    whole = [{**dict.fromkeys(source.types), AT: now, **row} for row in rows]
    # As the stream does for a decision that comes by topic.
    made = [{**row, **{name: tree.of(row) for name, tree in derived.items()}} for row in whole]
    return pa.Table.from_pylist(made, schema=schema)


def _decisions(process: StoreProcess, body: bytes) -> pa.Table:
    """Read decisions, an Arrow stream with `at` and the columns of the views' keys."""
    asked = "asked for the features of decisions"
    try:
        with ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(asked, f"that is no Arrow stream: {error}", "mend it") from error
    declared = process.store.declared
    needed = {AT: Type.INT64, **declared.asked}
    columns = {}
    for name, kind in needed.items():
        if name not in table.column_names:
            found = f"they have no column {name}, only {', '.join(table.column_names)}"
            raise StoreError(asked, found, "add it; null where there is none")
        try:
            columns[name] = table[name].cast(kind.arrow)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            found = f"column {name} is {table[name].type}, and {kind.value} is wanted: {error}"
            raise StoreError(asked, found, "cast it") from error
    if columns[AT].null_count:
        raise StoreError(asked, "a row has no time", "give each its at")
    return pa.table(columns)


def _is(kind: Type, value: object) -> bool:
    """Say whether a JSON value is of a type: Arrow itself would cut 1.5 to the integer 1."""
    if isinstance(value, bool):
        return kind is Type.BOOL
    if isinstance(value, int):
        return kind is Type.FLOAT64 or (kind is Type.INT64 and -(1 << 63) <= value < 1 << 63)
    if isinstance(value, float):
        return kind is Type.FLOAT64 and math.isfinite(value)
    return kind is Type.STRING and isinstance(value, str) and not _SURROGATE.search(value)


def _freshness(process: StoreProcess) -> dict[str, Any]:
    store = process.store
    complete = {name: store.complete(name) for name in store.declared.views}
    return {"complete_to": complete, "model_through": process.scorer.through_ms}


def _table(table: pa.Table, accept: str) -> Response:
    if ARROW not in accept:
        try:
            return _json(table.to_pylist())
        except (OverflowError, TypeError, ValueError) as error:
            asked = "asked for the answer as JSON"
            raise StoreError(asked, str(error), "cast it to VARCHAR, or accept Arrow") from error
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW)


def _json(value: object, status: int = 200) -> Response:
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return Response(orjson.dumps(value, default=str, option=options), status, media_type=_JSON)
