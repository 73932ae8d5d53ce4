"""Arrow Flight: the same answers as over HTTP, streamed; tokens, refusals, bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from headrace.jobs.machine.state import write_json
from headrace.jobs.serving.access import ROLES
from headrace.jobs.serving.flight import Answering, FlightServer
from headrace.jobs.serving.flight_client import FlightClient
from headrace.jobs.serving.server import Server
from headrace.jobs.serving.shard_server import ShardServer
from headrace.jobs.store import StoreProcess
from headrace.operators.errors import EnvironmentProblem, StoreError
from tests.feature_store.made_up import EVERY
from tests.jobs.test_access import SERVE, TOKENS
from tests.jobs.test_server import processing

DECISIONS = pa.table(
    {
        "at": [2 * EVERY, 2 * EVERY - 1, 2 * EVERY, 0, 2 * EVERY],
        "user": ["u", "u", "nobody", "u", None],
        "page": ["a", None, "a", "a", "a"],
    }
)
FOUND = {"n": [2, 1, 0, 0, 0], "total": [8, 3, 0, 0, 0], "last_x": [7, None, 7, None, 7]}


@contextmanager
def asking(process: StoreProcess, folder: Path) -> Iterator[FlightClient]:
    """Serve it, and give a client of its Flight."""
    server = Server(process)
    server.start()
    write_json(folder / "address.json", server.told())
    with closing(FlightClient(folder / "address.json")) as client:
        yield client
    server.stop()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlightClient]:
    folder = tmp_path_factory.mktemp("flight")
    with processing(folder) as process, asking(process, folder) as client:
        yield client


@pytest.fixture
def raw(store: FlightClient) -> flight.FlightClient:
    """Give pyarrow's own client of it."""
    return store._client


def test_a_question_is_a_stream(store: FlightClient) -> None:
    reader = store.sql('SELECT "user", rows FROM views.clicks ORDER BY ALL')
    assert reader.schema.names == ["user", "rows"]
    assert reader.read_all()["user"].to_pylist() == ["u", "u", "v"]
    batches = list(store.sql("SELECT range AS x FROM range(200000)"))
    assert len(batches) > 1
    assert sum(batch.num_rows for batch in batches) == 200_000


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_features_come_batch_by_batch(store: FlightClient, rows: int) -> None:
    decisions = pa.RecordBatchReader.from_batches(
        DECISIONS.schema, DECISIONS.to_batches(max_chunksize=rows)
    )
    found = pa.Table.from_batches(store.features(decisions))
    assert found.to_pydict() == FOUND
    some = DECISIONS.slice(0, 1).to_batches()
    decisions = pa.RecordBatchReader.from_batches(DECISIONS.schema, some)
    assert pa.Table.from_batches(store.features(decisions, ["total", "n"])).to_pydict() == {
        "total": [8],
        "n": [2],
    }


def test_an_empty_batch_has_an_empty_answer(store: FlightClient) -> None:
    empty = pa.RecordBatch.from_pylist([], DECISIONS.schema)
    decisions = pa.RecordBatchReader.from_batches(
        DECISIONS.schema, [empty, *DECISIONS.to_batches()]
    )
    assert [batch.num_rows for batch in store.features(decisions)] == [0, 5]


def test_a_listing_asks_once_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    with processing(tmp_path) as process, asking(process, tmp_path) as client:
        select = process.store.catalogue.select

        def noted(query: str, **more: Any) -> pa.Table:
            asked.append(query)
            return select(query, **more)

        monkeypatch.setattr(process.store.catalogue, "select", noted)
        tables = client.tables()
    assert len(asked) == len(tables) + 1


def test_tables_are_listed_with_their_tickets(
    store: FlightClient, raw: flight.FlightClient
) -> None:
    tables = store.tables()
    assert {"decisions", "predictions", "views.clicks"} <= set(tables)
    info = raw.get_flight_info(flight.FlightDescriptor.for_path("views", "clicks"))
    assert "user" in info.schema.names
    assert raw.do_get(info.endpoints[0].ticket).read_all().num_rows == 3
    command = orjson.dumps({"sql": "SELECT 7 AS x;"})
    info = raw.get_flight_info(flight.FlightDescriptor.for_command(command))
    assert info.schema.names == ["x"]
    assert raw.do_get(info.endpoints[0].ticket).read_all().to_pylist() == [{"x": 7}]


@pytest.mark.parametrize(
    ("ticket", "found"),
    [
        (b"", "it is no JSON"),
        (b"\xff", "it is no JSON"),
        (b"[]", "it is no JSON object"),
        (b"{}", "it is of another form"),
        (b'{"sql": 7}', "it is of another form"),
        (b'{"sql": "SELECT 1", "more": 1}', "it is of another form"),
        (b'{"sql": "DROP TABLE decisions"}', "that is not one SELECT; ask one question"),
        (b'{"sql": "SELECT * FROM decision"}', "did you mean 'decisions'?"),
        (b'{"sql": "SELECT * FROM read_text(\'/etc/passwd\')"}', "read_text.. is no table"),
        (b'{"sql": "SELECT repeat(\'x\', 2000000000)"}', "repeat.. is not for questions"),
        (b"[" * 2_000_000, "it has more than 1048576 bytes"),
    ],
)
def test_a_wrong_ticket_is_told(raw: flight.FlightClient, ticket: bytes, found: str) -> None:
    with pytest.raises(flight.FlightServerError, match=found) as refused:
        raw.do_get(flight.Ticket(ticket)).read_all()
    assert "Traceback" not in str(refused.value)
    command = flight.FlightDescriptor.for_command(ticket)
    with pytest.raises(flight.FlightServerError, match=found):
        raw.get_flight_info(command)


@pytest.mark.parametrize(
    ("decisions", "names", "found"),
    [
        (DECISIONS, ["totl"], "the feature 'totl'.*did you mean 'total'"),
        (DECISIONS, [], "asked for 0 features; 1 to 500 are answered"),
        (DECISIONS, ["n", "n"], "each once"),
        (DECISIONS.drop_columns(["page"]), None, "they have no column page, only at, user"),
        (DECISIONS.drop_columns(["at"]), None, "they have no column at"),
        (pa.table({"at": ["x"], "user": ["u"], "page": ["a"]}), None, "int64 is wanted"),
        (pa.table({"at": [None, 1], "user": ["u", "v"], "page": ["a"] * 2}), None, "has no time"),
        (pa.table({"at": [1 << 62], "user": ["u"], "page": ["a"]}), None, "out of every calendar"),
    ],
)
def test_what_cannot_be_answered_is_told(
    store: FlightClient, decisions: pa.Table, names: list[str] | None, found: str
) -> None:
    reader = pa.RecordBatchReader.from_batches(decisions.schema, decisions.to_batches())
    with pytest.raises(StoreError, match=found) as refused:
        list(store.features(reader, names))
    assert refused.value.asked.startswith("asked the store at grpc://127.0.0.1:")
    assert "Traceback" not in str(refused.value)
    assert store.sql("SELECT 1 AS x").read_all().to_pylist() == [{"x": 1}]


def test_nothing_is_put_and_there_are_no_actions(raw: flight.FlightClient) -> None:
    assert list(raw.list_actions()) == []
    with pytest.raises(
        flight.FlightServerError, match="asked for the action 'drop'; no action is declared"
    ):
        list(raw.do_action(flight.Action("drop", b"")))
    writer, _ = raw.do_put(flight.FlightDescriptor.for_path("decisions"), DECISIONS.schema)
    with pytest.raises(flight.FlightServerError, match="nothing is written over Flight"):
        writer.close()
    with pytest.raises(flight.FlightServerError, match="the table 'nothing'"):
        raw.get_flight_info(flight.FlightDescriptor.for_path("nothing"))


def test_tokens_by_role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role, token in TOKENS.items():
        monkeypatch.setenv(f"TOKEN_{role.upper()}", token)
    with processing(tmp_path, SERVE) as process, asking(process, tmp_path) as client:
        assert client.sql("SELECT 1 AS x").read_all().num_rows == 1  # the client has its token
        ticket = flight.Ticket(b'{"sql": "SELECT 1 AS x"}')
        raw = client._client
        for token in ("", "Bearer nothing", TOKENS["read"], f"Basic {TOKENS['read']}"):
            headers = [(b"authorization", token.encode())] if token else []
            for ask in (raw.list_flights, raw.list_actions):
                with pytest.raises(flight.FlightUnauthenticatedError, match="there is no token"):
                    list(ask(options=flight.FlightCallOptions(headers=headers)))
        answered: dict[str, list[str]] = {}
        for role in ROLES:
            bearer = f"Bearer {TOKENS[role]}".encode()
            options = flight.FlightCallOptions(headers=[(b"authorization", bearer)])
            answered[role] = []
            try:
                raw.do_get(ticket, options).read_all()
                answered[role].append("sql")
            except flight.FlightUnauthorizedError as error:
                assert f"the token's role is {role}" in str(error)  # noqa: PT017  # of one role
            descriptor = flight.FlightDescriptor.for_command(b'{"features": null}')
            writer, reader = raw.do_exchange(descriptor, options)
            with writer:
                writer.begin(DECISIONS.schema)
                writer.write_table(DECISIONS)
                assert reader.read_chunk().data.num_rows == 5
                answered[role].append("features")
                writer.done_writing()
        both = ["sql", "features"]
        assert answered == {"read": both, "predict": ["features"], "admin": both}


READ: set[str | None] = {"read", "admin"}
MATRIX: dict[str, set[str | None]] = {
    "do_action": set(ROLES),
    "do_exchange": set(ROLES),
    "do_get": READ,
    "do_put": set(ROLES),
    "get_flight_info": READ,
    "get_schema": set(),
    "list_actions": set(ROLES),
    "list_flights": READ,
}
"""Who gets past the door of each method; what some of them then answer is a refusal, too."""


def test_every_method_is_in_the_matrix_and_none_is_left_as_it_came() -> None:
    base = flight.FlightServerBase
    found = {name for name in vars(base) if name.startswith(("do_", "get_", "list_"))}
    assert found == set(MATRIX)
    for served in (FlightServer, ShardServer):
        own = {**vars(Answering), **vars(served)}
        assert {name for name in found if name not in own} == {"get_schema"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flight.FlightClient]:
    """Give pyarrow's own client of a store that wants tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for role, token in TOKENS.items():
            monkeypatch.setenv(f"TOKEN_{role.upper()}", token)
        with processing(folder, SERVE) as process, asking(process, folder) as client:
            yield client._client


@pytest.mark.parametrize("method", MATRIX)
@pytest.mark.parametrize("role", [None, *ROLES, "stranger"])
def test_a_role_is_answered_what_it_may_ask(
    guarded: flight.FlightClient, method: str, role: str | None
) -> None:
    token = {str(each): token for each, token in TOKENS.items()}.get(str(role), "x" * 40)
    headers = [] if role is None else [(b"authorization", f"Bearer {token}".encode())]
    options = flight.FlightCallOptions(headers=headers)
    nothing = flight.FlightDescriptor.for_command(b"")

    def streamed(call: Any, *more: Any) -> None:
        writer, *_ = call(nothing, *more, options)
        writer.close()

    asks: dict[str, Callable[[], object]] = {
        "do_action": lambda: list(guarded.do_action(flight.Action("x", b""), options)),
        "do_exchange": lambda: streamed(guarded.do_exchange),
        "do_get": lambda: guarded.do_get(flight.Ticket(b""), options).read_all(),
        "do_put": lambda: streamed(guarded.do_put, DECISIONS.schema),
        "get_flight_info": lambda: guarded.get_flight_info(nothing, options),
        "get_schema": lambda: guarded.get_schema(nothing, options),
        "list_actions": lambda: guarded.list_actions(options),
        "list_flights": lambda: list(guarded.list_flights(options=options)),
    }
    try:
        asks[method]()
        said = ""
    except (flight.FlightError, OSError, pa.ArrowException) as error:
        said = str(error)
    assert "Traceback" not in said
    assert "/jobs/" not in said
    if role not in ROLES:
        assert "there is no token, or none that is known" in said
    elif role in MATRIX[method]:
        assert "token" not in said
    elif MATRIX[method]:
        assert f"the token's role is {role}" in said
    else:
        assert "it is not served" in said


def test_a_store_that_is_gone_does_not_answer(tmp_path: Path) -> None:
    with processing(tmp_path) as process, asking(process, tmp_path):
        pass
    with (
        closing(FlightClient(tmp_path / "address.json")) as client,
        pytest.raises(StoreError, match=r"asked the store at grpc.*; start the pipeline"),
    ):
        client.sql("SELECT 1")


def test_one_more_call_than_may_be_is_refused(
    store: FlightClient, raw: flight.FlightClient
) -> None:
    held = []
    for _ in range(16):
        descriptor = flight.FlightDescriptor.for_command(b'{"features": null}')
        writer, reader = raw.do_exchange(descriptor)
        writer.begin(DECISIONS.schema)
        writer.write_table(DECISIONS)
        reader.read_chunk()
        held.append(writer)
    with pytest.raises(StoreError, match="16 calls are under way, as many as may; ask again"):
        store.sql("SELECT 1").read_all()
    for writer in held:
        writer.close()
    assert store.sql("SELECT 1 AS x").read_all().num_rows == 1


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with processing(tmp_path) as process, asking(process, tmp_path):
        port = orjson.loads((tmp_path / "address.json").read_bytes())["flight"].rpartition(":")[2]
        (tmp_path / "two").mkdir()
        with (
            processing(tmp_path / "two", f"serve: {{flight_port: {port}}}\n") as another,
            pytest.raises(EnvironmentProblem, match="asked to serve Arrow Flight at 127"),
        ):
            Server(another)
