"""Features that are lists: the same by JSON, Arrow, pandas, CSV, in predictions and in the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from headrace.jobs.features import FeatureStore
from headrace.jobs.machine.state import write_json
from headrace.jobs.serving.server import ARROW
from headrace.pipelines.load import load
from tests.feature_store.made_up import EVERY, decisions, pages
from tests.feature_store.test_companions import MORE, pane
from tests.jobs.conftest import Say
from tests.jobs.in_memory import Log
from tests.jobs.test_server import serving
from tests.jobs.test_store_process import in_log

FOUND: dict[str, list[Any]] = {
    "often": [["a", "é, |"], ["b"], None],
    "lasts": [["é, |", "a"], ["b", "b"], None],
    "kinds": [2, 1, 0],
}
USERS = ("u", "v", "nobody")
NAMES = list(FOUND)


@pytest.fixture(scope="module")
def log() -> Log:
    return Log()


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory, log: Log) -> Iterator[Path]:
    """Serve a store with a pane of three rows of u, and two of v; u decides."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "more.yaml").write_text(MORE)
    small = load(folder / "more.yaml")
    rows = [("u", 5, "a"), ("u", 6, "é, |"), ("u", 5, "a"), ("v", 7, "b"), ("v", 7, "b")]
    clicks = small.view_topic(small.views["clicks"])
    log.put(clicks, pane(EVERY, *rows))
    view = small.view_topic(small.views["pages"])
    for partition in (0, 1):
        log.put(view, pages(EVERY), partition=partition)
    log.put(small.decisions_topic, decisions(2 * EVERY, (EVERY, 0, 0, "d0")))
    with pytest.MonkeyPatch.context() as monkeypatch:
        log.install(monkeypatch)
        process = log.process(small, folder / "store")
        process.step()
        with serving(process) as http:
            where = {"address": f"{http.base_url.host}:{http.base_url.port}"}
            write_json(folder / "store" / "address.json", where)
            yield folder
        process.close()


@pytest.fixture
def http(state: Path) -> Iterator[httpx.Client]:
    address = orjson.loads((state / "store" / "address.json").read_bytes())["address"]
    with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
        yield client


@pytest.fixture
def store(state: Path) -> Iterator[FeatureStore]:
    with closing(FeatureStore(state)) as store:
        yield store


def test_json_has_lists(http: httpx.Client) -> None:
    rows = {"rows": [{"at": EVERY, "user": user} for user in USERS]}
    for path in ("/v1/features", "/v1/predict"):
        told = http.post(path, json=rows).json()["features"]
        assert {name: [row[name] for row in told] for name in NAMES} == FOUND
    (kept,) = http.post("/v1/sql", json={"query": "SELECT often, lasts FROM predictions"}).json()
    assert kept == {"often": FOUND["often"][0], "lasts": FOUND["lasts"][0]}
    why = http.get("/v1/why", params={"decision": "d0"}).json()
    assert why["features"]["lasts"]["value"] == FOUND["lasts"][0]


def test_arrow_has_lists_of_their_type(http: httpx.Client, store: FeatureStore) -> None:
    asked = [{"user": user} for user in USERS]
    found = store.get_online_features(NAMES, asked, at=EVERY)
    assert found.to_dict() == FOUND
    decided = pa.table({**_decisions(), "mine": [[1], [], None]})
    beside = store.get_historical_features(decided).to_arrow()
    assert beside.select(NAMES).to_pydict() == FOUND
    assert beside["mine"].to_pylist() == [[1], [], None]
    query = {"query": "SELECT often, lasts FROM predictions"}
    answer = http.post("/v1/sql", json=query, headers={"accept": ARROW})
    kept = ipc.open_stream(answer.content).read_all()
    for table in (found.to_arrow(), beside, kept):
        for name in ("often", "lasts"):
            assert table.schema.field(name).type == pa.list_(pa.string())


def test_pandas_has_lists(store: FeatureStore) -> None:
    found = store.get_historical_features(pa.table(_decisions()).to_pandas(), NAMES).to_df()
    for name in ("often", "lasts"):
        assert [None if each is None else list(each) for each in found[name]] == FOUND[name]
    assert found["kinds"].tolist() == FOUND["kinds"]


def test_csv_has_lists_as_json(state: Path, say: Say) -> None:
    query = f'SELECT "user", often, lasts FROM features.clicks({EVERY}) ORDER BY ALL'
    status, text = say("sql", query, "--state", state, "--format", "csv")
    assert not status
    assert text.splitlines() == [
        '"user","often","lasts"',
        '"u","[""a"",""é, |""]","[""é, |"",""a""]"',
        '"v","[""b""]","[""b"",""b""]"',
    ]


def test_predictions_in_the_log_have_what_the_model_takes(state: Path, log: Log) -> None:
    """Lists are no tokens: they are kept in the store, and not sent to the learner."""
    (told,), _ = in_log(log, load(state / "more.yaml"))
    assert told["x"] == {"hour": 7, "n": 3}


def _decisions() -> dict[str, list[object]]:
    count = len(USERS)
    return {"at": [EVERY] * count, "user": list(USERS), "page": [None] * count}
