"""The HTTP interface on a real socket: answers, refusals, and no torn reads."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from headrace.jobs.cli.console import NAMES
from headrace.jobs.machine.sockets import listen
from headrace.jobs.machine.state import write_json
from headrace.jobs.serving.client import Client
from headrace.jobs.serving.server import ARROW, Server
from headrace.jobs.store import StoreProcess
from headrace.operators.errors import StoreError
from tests.feature_store import made_up
from tests.feature_store.made_up import EVERY, clicks, decisions, pages, pipeline
from tests.jobs.in_memory import Log

JSON = {"content-type": "application/json"}


@contextmanager
def processing(folder: Path, more: str = "") -> Iterator[StoreProcess]:
    """Run a store process that has taken in three tiles and a decision."""
    log, small = Log(), pipeline(folder, more)
    view = small.view_topic(small.views["clicks"])
    log.put(view, clicks(EVERY, u=3, v=4), clicks(2 * EVERY, u=5))
    view = small.view_topic(small.views["pages"])
    log.put(view, pages(2 * EVERY, a=7))
    log.put(view, pages(2 * EVERY), partition=1)
    log.put(small.decisions_topic, decisions(2 * EVERY, (EVERY, 0, 0, "d0")))
    with pytest.MonkeyPatch.context() as monkeypatch:
        log.install(monkeypatch)
        process = log.process(small, folder / "store")
        process.step()
        yield process
        process.close()


@contextmanager
def serving(process: StoreProcess) -> Iterator[httpx.Client]:
    """Serve it on a port of its own."""
    server = Server(process)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        yield client
    server.stop()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """One for all tests that only ask."""
    with processing(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture(scope="module")
def http(process: StoreProcess) -> Iterator[httpx.Client]:
    with serving(process) as client:
        yield client


def test_health_and_status(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    status = http.get("/v1/status").json()
    assert (status["decisions"], status["predictions"], status["waiting"]) == (1, 1, 0)
    assert status["views"]["clicks"] == {"keys": 2, "tiles": 3, "complete": 2 * EVERY}
    assert (status["model_version"], status["published"]) == (0, 1)


def test_sql_as_json_and_as_arrow(http: httpx.Client) -> None:
    query = {"query": 'SELECT "user", rows, 1.5::DECIMAL(3,1) AS x FROM views.clicks ORDER BY ALL'}
    rows = [("u", 1), ("u", 1), ("v", 1)]
    answer = http.post("/v1/sql", json=query).json()
    assert answer == [{"user": user, "rows": n, "x": "1.5"} for user, n in rows]
    answer = http.post("/v1/sql", json=query, headers={"accept": ARROW})
    assert answer.headers["content-type"] == ARROW
    table = ipc.open_stream(answer.content).read_all()
    assert table["user"].to_pylist() == ["u", "u", "v"]
    assert table.schema.field("x").type == pa.decimal128(3, 1)


def test_features_and_predictions(http: httpx.Client) -> None:
    rows = [
        {"at": 2 * EVERY, "user": "u", "page": "a"},
        {"at": 2 * EVERY - 1, "user": "u"},
        {"user": "nobody"},
    ]
    answer = http.post("/v1/features", json={"rows": rows}).json()
    assert answer["features"] == [
        {"n": 2, "total": 8, "last_x": 7},
        {"n": 1, "total": 3, "last_x": None},
        {"n": 0, "total": 0, "last_x": None},
    ]
    assert answer["complete_to"] == {"clicks": 2 * EVERY, "pages": 2 * EVERY}
    answer = http.post("/v1/predict", json={"rows": rows[:1]}).json()
    assert answer["predictions"] == [0.5]
    assert (answer["model_version"], answer["features"][0]["total"]) == (0, 8)


def test_the_prompt_is_told_what_to_complete(http: httpx.Client) -> None:
    names = {row["name"] for row in http.post("/v1/sql", json={"query": NAMES}).json()}
    assert {"decisions", "views.clicks", "features.clicks(", "user", "label"} <= names


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_compressed_batches_are_refused(http: httpx.Client, codec: str, dictionary: bool) -> None:
    users = pa.array(["u"] * 1_000)
    columns = {"at": pa.array([0] * 1_000), "user": users, "page": users}
    if dictionary:
        columns = {"page": users.dictionary_encode(), "user": users, "at": columns["at"]}
    table = pa.table(columns)
    for compression, status in ((codec, 400), (None, 200)):
        sink = pa.BufferOutputStream()
        options = ipc.IpcWriteOptions(compression=compression)
        with ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        answer = http.post("/v1/training", content=sink.getvalue().to_pybytes())
        assert answer.status_code == status
        if status == 400:
            _refused(answer, "the batches are compressed")


@pytest.mark.parametrize("path", ["/v1/features", "/v1/predict"])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"rows": [{"usr": "u"}]}', "asked with usr; a decision has at, name, user"),
        ('{"rows": [{"hour": "noon"}]}', "asked with hour = 'noon'; it is no int64"),
        ('{"rows": [{"hour": 1.5}]}', "no int64"),
        ('{"rows": [{"hour": 7.0}]}', "no int64"),
        ('{"rows": [{"hour": true}]}', "no int64"),
        ('{"rows": [{"hour": 9223372036854775808}]}', "no int64"),
        ('{"rows": [{"user": 7}]}', "no string"),
        ('{"rows": [{"user": "\\ud800"}]}', "it is no JSON"),
        ('{"rows": [{"user": ["u"]}]}', "no string"),
        ('{"rows": [{"wind": NaN}]}', "it is no JSON"),
        ('{"rows": [{"wind": -Infinity}]}', "it is no JSON"),
        ('{"rows": [{"wind": 1e999}]}', "it is no JSON"),
        ('{"rows": [{"at": null}]}', "no int64"),
        ('{"rows": [{"at": "now"}]}', "no int64"),
        ('{"rows": []}', "asked for no rows"),
        (f'{{"rows": [{", ".join(["{}"] * 1001)}]}}', "1001 rows; 1000 are answered at once"),
        ('{"rows": [{"at": 9007199254740993}]}', "out of every calendar"),
        ('{"rows": [7]}', "asked with rows.0 = 7; it is no object"),
        ('{"rows": [[]]}', "asked with rows.0 = []; it is no object"),
        ('{"rows": {}}', "rows is of another type"),
        ('{"rows": null}', "rows is of another type"),
        ('{"rows": [{}], "row": [{}]}', "asked with 'row'; what is taken: rows"),
        ("{}", "rows is not there"),
        ("[]", "it is no JSON object"),
        ("null", "it is no JSON object"),
        ('{"rows": [', "it is no JSON"),
        ("", "it is no JSON"),
        ("\0\xff", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ('{"rows": [{"user": ' + "[" * 2_000 + "]" * 2_000 + "}]}", "it is no JSON"),
    ],
)
def test_a_bad_request_is_answered(http: httpx.Client, path: str, body: str, found: str) -> None:
    _refused(http.post(path, content=body.encode(), headers=JSON), found)
    assert http.get("/healthz").is_success


def test_some_features_are_chosen(http: httpx.Client) -> None:
    asked = {"rows": [{"at": 2 * EVERY, "user": "u"}], "features": ["total", "n"]}
    found = http.post("/v1/features", json=asked).json()["features"]
    assert list(found[0].items()) == [("total", 8), ("n", 2)]
    answer = http.post("/v1/features", json={**asked, "status": True}).json()
    assert answer["status"] == [{"total": "present", "n": "present"}]
    for wrong, said in (("totl", "did you mean 'total'?"), (7, "asked for the feature '7'")):
        _refused(http.post("/v1/features", json={**asked, "features": [wrong]}), said)
    for none in ([], ["n", "n"]):
        _refused(http.post("/v1/features", json={**asked, "features": none}), "name each once")
    many = {**asked, "features": ["n"] * 501}
    _refused(http.post("/v1/features", json=many), "501 features; 500 are answered at once")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("DROP TABLE decisions", "that is not one SELECT"),
        ("SELECT 1; SELECT 2", "that is not one SELECT"),
        ("SELECT nothing FROM decisions", "nothing"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT * FROM read_text('/etc/hostname')", "read_text() is no table of the store"),
        ("SELECT * FROM views.click", "the table 'views.click'"),
        ("SELECT * FROM features.click(1)", "did you mean 'clicks'?"),
        ("SELECT TIMESTAMP '290000-01-01' AS x", "as JSON"),
        ("SELECT '\ud800'", "it is no JSON"),
    ],
)
def test_a_bad_query_is_answered(http: httpx.Client, query: str, found: str) -> None:
    body = json.dumps({"query": query})  # which escapes what UTF-8 cannot write
    _refused(http.post("/v1/sql", content=body, headers=JSON), found)
    assert http.post("/v1/sql", json={"query": "SELECT 1 AS x"}).json() == [{"x": 1}]


def test_an_unknown_page_is_answered(http: httpx.Client) -> None:
    answer = http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["asked"]) == (404, "asked for '/v1/nothing'")
    answer = http.get("/v1/sql")
    assert (answer.status_code, answer.json()["do"]) == (405, "use POST")


def _refused(answer: httpx.Response, found: str) -> None:
    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert found in told["error"]
    assert told["error"] == "; ".join([told["asked"], told["found"], told["do"]])
    assert "Traceback" not in answer.text


def test_the_client_says_what_the_server_said(process: StoreProcess, tmp_path: Path) -> None:
    address = tmp_path / "address.json"
    client = Client(address)
    with pytest.raises(StoreError, match=r"address\.json; there is no such file; start the pip"):
        client.sql("SELECT 1")
    server = Server(process)
    server.start()
    write_json(address, server.told())
    assert client.healthy()
    assert client.sql("SELECT 7 AS x").to_pylist() == [{"x": 7}]
    with pytest.raises(StoreError, match="asked for 'DROP TABLE decisions'; that is not one SEL"):
        client.sql("DROP TABLE decisions")
    server.stop()
    assert not client.healthy()
    with pytest.raises(StoreError, match=r"it does not answer: .*; start the pipeline"):
        client.status()
    client.close()


def test_a_read_sees_a_whole_pane_or_none_and_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"at": 3 * EVERY, "user": user, "page": "a"} for user in ("w1", "w2")]
    seen: list[list[dict[str, object]]] = []
    with (
        processing(tmp_path) as process,
        serving(process) as http,
        process.store.catalogue.transaction(),
    ):

        def read() -> None:
            answer = http.post("/v1/features", json={"rows": rows})
            seen.append(answer.json()["features"])

        tiles = process.store._indexes["clicks"].tiles
        append = tiles.append

        def then_read(*what: Any) -> object:
            refused = append(*what)
            read()
            return refused

        monkeypatch.setattr(tiles, "append", then_read)
        process.store.add_tiles("clicks", 0, [clicks(3 * EVERY, w1=9, w2=9)])
        read()
    assert seen[0] == [{"n": 0, "total": 0, "last_x": 7}] * 2
    assert seen[1] == [{"n": 1, "total": 9, "last_x": 7}] * 2


@pytest.mark.parametrize("path", ["/v1/features", "/v1/predict"])
def test_an_answer_says_how_fresh_it_was_when_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A pane that comes between the read and the answer is not in it."""
    rows = [{"at": 3 * EVERY, "user": "w1", "page": "a"}]
    with (
        processing(tmp_path) as process,
        serving(process) as http,
        process.store.catalogue.transaction(),
    ):

        def comes(_: object) -> None:
            process.store.add_tiles("clicks", 0, [clicks(3 * EVERY, w1=9)])

        with monkeypatch.context() as patch:
            patch.setattr(process.metrics, "count_missing", comes)
            answer = http.post(path, json={"rows": rows}).json()
        after = http.post(path, json={"rows": rows}).json()
    assert (answer["features"][0]["n"], answer["complete_to"]["clicks"]) == (0, 2 * EVERY)
    assert (after["features"][0]["n"], after["complete_to"]["clicks"]) == (1, 3 * EVERY)


@pytest.mark.parametrize("path", ["/v1/features", "/v1/predict"])
def test_others_are_answered_while_what_is_before_a_horizon_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    key = "    key: page\n"
    monkeypatch.setattr(made_up, "TEXT", made_up.TEXT.replace(key, key + "    horizon: 2h\n"))
    answered: list[int] = []
    with processing(tmp_path) as process, serving(process) as http:

        def ask(_: object) -> None:
            answered.append(http.get("/livez", timeout=5).status_code)

        monkeypatch.setattr(process.metrics, "count_missing", ask)
        assert http.post(path, json={"rows": [{"user": "u"}]}).status_code == 200
    assert answered == [200]


def test_json_has_bounds_of_its_own(http: httpx.Client) -> None:
    query = "SELECT range AS n FROM range(100001)"
    answer = http.post("/v1/sql", json={"query": query})
    assert answer.status_code == 400
    assert "the answer has more than 100000 rows" in answer.json()["found"]
    answer = http.post("/v1/sql", json={"query": query}, headers={"accept": ARROW})
    assert ipc.open_stream(answer.content).read_all().num_rows == 100_001


def test_reads_beside_writes_are_whole(tmp_path: Path) -> None:
    """Each pane gives w1 and w2 a click of the same x: no reader sees one without the other."""
    with processing(tmp_path) as process, serving(process) as http:
        _read_beside_writes(process, http)


def _read_beside_writes(process: StoreProcess, http: httpx.Client) -> None:
    stop = Event()
    rows = [{"at": 200 * EVERY, "user": user, "page": "a"} for user in ("w1", "w2")]
    query = 'SELECT COUNT(*) AS n, COUNT(DISTINCT "end") AS ends FROM views.clicks WHERE rows = 1'

    def read() -> int:
        count = 0
        while not stop.is_set() or not count:
            one, two = http.post("/v1/features", json={"rows": rows}).json()["features"]
            assert one == two
            (told,) = http.post("/v1/sql", json={"query": query}).json()
            assert told["n"] == 2 * told["ends"] - 1
            assert http.get("/v1/status").is_success
            count += 1
        return count

    store = process.store
    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for step in range(3, 201):
            with store.catalogue.transaction():
                store.add_tiles("clicks", 0, [clicks(step * EVERY, w1=step, w2=step)])
        stop.set()
        assert all(reader.result(30) for reader in readers)


def test_why_a_decision_was_scored(http: httpx.Client) -> None:
    told = http.get("/v1/why", params={"decision": "d0"}).json()
    assert (told["p"], told["version"], told["label"]) == (0.5, 0, None)
    assert (told["decision"]["user"], told["decision"]["at"]) == ("u", EVERY)
    assert told["contributions"] == {"hour": 0.0, "n": 0.0, "bias": 0.0}
    window = {"after": -EVERY, "to": EVERY, "tiles": 1, "first": EVERY, "last": EVERY}
    assert told["features"]["n"] == {"value": 1, "view": "clicks", "key": ["u"], **window}
    assert told["features"]["last_x"] == {
        **{"value": None, "view": "pages", "key": ["a"], "after": 0, "to": EVERY, "tiles": 0},
        **dict.fromkeys(("first", "last", "newest_partition", "newest_offset")),
    }
    answer = http.get("/v1/why", params={"decision": "nobody"})
    assert answer.status_code == 400
    assert "there is no prediction for it" in answer.json()["error"]


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    with (
        listen("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
