"""Hostile names: in every place of a pipeline file, in requests, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.flight as flight
import pytest
from ruamel.yaml import YAML
from ruamel.yaml.events import ScalarEvent

from headrace.operators.errors import PipelineError, UnknownName
from headrace.pipelines.load import load
from tests.feature_store.made_up import TEXT
from tests.hostile import CANARY, NAMES
from tests.jobs.conftest import Say
from tests.jobs.conftest import say as say
from tests.jobs.test_flight import raw as raw
from tests.jobs.test_flight import store as store
from tests.jobs.test_server import http as http
from tests.jobs.test_server import process as process

SHOP = (Path(__file__).parent / "pipelines" / "shop.yaml").read_text("utf-8")
MORE = """\
drift: {every: 1d, loss: [alert, raise_rate 3x for 1d], fields: {user: alert}}
serve: {host: 127.0.0.1, hosts: [a.example.com], tokens: {read: env:READ}}
kafka:
  bootstrap: k.example.com:9093
  properties:
    security.protocol: SASL_SSL
    sasl.mechanism: PLAIN
    sasl.username: shop
    sasl.password: env:PASSWORD
    ssl.ca.location: /etc/ca.pem
"""
FREE = ("sasl.username", "ssl.ca.location")
"""Where a text stands that is no name of ours."""
PLAIN = {"a path", "a backquote", "a look-alike", "very long", "an option", "a template"}
"""What may stand there: it has no quote, and nothing that a client replaces."""
LONGEST = 4_000
"""Of a sentence, whose three parts are cut one by one."""


@pytest.fixture(autouse=True)
def _nothing_is_obeyed() -> Iterator[None]:
    assert not Path(CANARY).exists()
    yield
    assert not Path(CANARY).exists()


def places(text: str) -> Iterator[tuple[str, int, int]]:
    """Find every key and every value of a file: the key it stands at, from where, to where."""
    key = ""
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, ScalarEvent):
            start, end = event.start_mark.index, event.end_mark.index
            key = str(event.value) if text[end : end + 1] == ":" else key
            yield key, start, end


def is_one_line(sentence: str) -> bool:
    """Say whether it neither breaks out of its line, nor of its length."""
    return sentence.isprintable() and len(sentence) < LONGEST


@pytest.mark.parametrize("what", NAMES)
def test_every_place_of_a_file_refuses_it(what: str, tmp_path: Path) -> None:
    path, text, accepted = tmp_path / "p.yaml", SHOP + MORE, set()
    said: list[str] = []
    path.write_text(text, "utf-8")
    assert load(path).name == "shop"
    found = list(places(text))
    assert len(found) > 100
    for key, start, end in found:
        path.write_text(text[:start] + json.dumps(NAMES[what]) + text[end:], "utf-8")
        try:
            load(path)
        except PipelineError as refused:
            said.append(str(refused).removeprefix(str(path)))
        else:
            accepted.add(key)
    assert [each for each in said if not is_one_line(each)] == []
    assert accepted == set(FREE if what in PLAIN else ())


def test_words_of_sql_are_names_like_others(tmp_path: Path) -> None:
    """A pipeline of such names has tables of them, and they are asked like others."""
    from headrace.feature_store.store import Store
    from headrace.jobs import assembly

    words = {
        "click": "table",
        "clicks": "select",
        "user": "from",
        "total": "order",
        "page": "where",
    }
    text = TEXT
    for name, word in words.items():
        text = text.replace(f"{name}:", f"{word}:").replace(f": {name}\n", f": {word}\n")
        text = text.replace(f"source: {name},", f"source: {word},")
    path = tmp_path / "words.yaml"
    path.write_text(text, "utf-8")
    declared = load(path)
    assert {"select", "pages"} == set(declared.views)
    kept = Store(tmp_path / "store.duckdb", assembly.declared(declared))
    try:
        assert kept.catalogue.select('SELECT "from" FROM views."select"').num_rows == 0
        assert kept.catalogue.select('SELECT "order" FROM features."select"(0)').num_rows == 0
    finally:
        kept.catalogue.close()


def requests(name: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Make requests that have a name where one is taken: the method, the path, the rest."""
    quoted = httpx.QueryParams({"decision": name})
    row = {"at": 0, "user": "u"}
    yield "POST", "/v1/features", {"json": {"rows": [row], "features": [name]}}
    yield "POST", "/v1/features", {"json": {"rows": [{name: 1}]}}
    yield "POST", "/v1/features", {"json": {"rows": [row], name: 1}}
    yield "POST", "/v1/predict", {"json": {"rows": [{**row, name: None}]}}
    yield "POST", "/v1/sql", {"json": {"query": name}}
    yield "POST", "/v1/sql", {"json": {"query": f"SELECT * FROM {name}"}}
    yield "GET", f"/v1/why?{quoted}", {}
    encoded = str(httpx.QueryParams({"": name}))[1:]
    yield "GET", f"/v2/models/{encoded}", {}
    yield "GET", f"/v2/models/small/versions/{encoded}", {}
    yield "GET", f"/{encoded}", {}
    tensor = {"name": name, "shape": [1], "datatype": "INT64", "data": [1]}
    yield "POST", "/v2/models/small/infer", {"json": {"inputs": [tensor]}}
    if name.isascii() and name.isprintable():
        yield "GET", "/v1/status", {"headers": {"host": name}}
        yield "GET", "/v1/status", {"headers": {"origin": f"http://{name}"}}
        yield "POST", "/v1/sql", {"headers": {"content-encoding": name}, "content": b"{}"}


@pytest.mark.parametrize("what", NAMES)
def test_every_request_refuses_it(
    what: str, http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    for method, path, more in requests(NAMES[what]):
        answer = http.request(method, path, **more)  # type: ignore[arg-type]  # of httpx's own
        assert 400 <= answer.status_code < 500, (path, answer.text)
        said = answer.json()
        assert all(said[part] for part in ("asked", "found", "do")), (path, said)
        assert is_one_line(said["error"]), (path, said)
    assert caplog.text == ""
    row = {"at": 120_000, "user": NAMES[what], "page": NAMES[what]}  # a value is what it likes
    answer = http.post("/v1/features", json={"rows": [row]})
    assert answer.json()["features"] == [{"n": 0, "total": 0, "last_x": None}]
    assert http.post("/v1/sql", json={"query": "SELECT COUNT(*) AS n FROM decisions"}).json() == [
        {"n": 1}
    ]


@pytest.mark.parametrize("what", NAMES)
def test_every_flight_refuses_it(what: str, raw: flight.FlightClient) -> None:
    name = NAMES[what]
    command = json.dumps({"sql": f"SELECT * FROM {name}"}).encode()
    features = flight.FlightDescriptor.for_command(json.dumps({"features": [name]}))

    def exchange() -> None:
        writer, reader = raw.do_exchange(features)
        with writer:
            writer.done_writing()
            reader.read_all()

    asked = [
        lambda: raw.do_get(flight.Ticket(command)).read_all(),
        lambda: raw.do_get(flight.Ticket(name.encode())).read_all(),
        lambda: raw.get_flight_info(flight.FlightDescriptor.for_path(name)),
        lambda: raw.get_flight_info(flight.FlightDescriptor.for_path("views", name)),
        lambda: list(raw.do_action(flight.Action(name, b""))),
        exchange,
    ]
    for ask in asked:
        with pytest.raises(flight.FlightServerError) as refused:
            ask()
        said = str(refused.value).partition(". Detail: ")[0]
        assert is_one_line(said.partition(" gRPC client debug context")[0]), said
        assert "failed here" not in said


@pytest.mark.parametrize("what", NAMES)
def test_every_argument_refuses_it(
    what: str, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")
    name, path = NAMES[what], tmp_path / "shop.yaml"
    path.write_text(SHOP, "utf-8")
    (tmp_path / "state" / "logs").mkdir(parents=True)
    (tmp_path / "state" / "logs" / "store.log").write_text("")
    before = sorted(tmp_path.rglob("*"))
    for words in (
        ["init", "--", name],
        ["operators", "--", name],
        ["explain", path, "--", name],
        ["send", path, "--", name, path],
        ["logs", "--state", tmp_path / "state", "--", name],
        ["validate", "--", name],
        ["up", path, f"--beat={name}", "--state", tmp_path / "state"],
        ["up", path, f"--kafka={name}", "--state", tmp_path / "up"],
        ["plan", path, "--state", name[:200]],
        ["rollback", path, "--state", name[:200]],
    ):
        status, said = say(*words)
        assert status in (1, 2), (words, said)
        shown = [line for line in said.splitlines() if line.strip()]
        assert all(is_one_line(line) for line in shown), (words, said)
        assert "Traceback" not in said
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_shown_of_an_error_is_one_line() -> None:
    error = UnknownName("view", "x", ["a\n\x1b[31mb"])
    assert (
        str(error) == r"asked for the view 'x'; known: 'a\n\x1b[31mb'; use one of the known names"
    )
    assert is_one_line(str(PipelineError("p", 1, 1, "a\nb" * 10_000, "\u202e" * 200, "d")))
