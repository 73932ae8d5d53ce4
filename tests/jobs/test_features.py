"""The features in Python: what goes in comes out, row for row, with the store's own values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from headrace.jobs import stores
from headrace.jobs.features import FeatureStore
from headrace.jobs.machine.state import write_json
from headrace.operators.errors import StoreError, UnknownName
from tests.feature_store.made_up import EVERY, TEXT, pipeline
from tests.jobs.test_server import processing, serving

HUGE = 2**53 + 1
KEYS = {"user": ["a"], "page": ["a"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with a click of u (3) in the first minute, v (4) too, u (5) in the second; a 7."""
    folder = tmp_path_factory.mktemp("features")
    with processing(folder) as process, serving(process) as http:
        (folder / "store").mkdir(exist_ok=True)
        address = {"address": f"{http.base_url.host}:{http.base_url.port}"}
        write_json(folder / "store" / "address.json", address)
        with closing(FeatureStore(folder)) as store:
            yield store


def decisions() -> pa.Table:
    return pa.table(
        {
            "mine": [HUGE, None, 3, 4, 4],
            "at": [2 * EVERY, 2 * EVERY - 1, 2 * EVERY, 0, 2 * EVERY],
            "user": ["u", "u", "nobody", "u", None],
            "page": ["a", None, "a", "a", "a"],
        }
    )


FOUND = {
    "n": [2, 1, 0, 0, 0],
    "total": [8, 3, 0, 0, 0],
    "last_x": [7, None, 7, None, 7],
}


def test_online_features_come_with_their_completeness(store: FeatureStore) -> None:
    asked = [{"user": "u", "page": "a"}, {"user": "v"}]
    found = store.get_online_features(entity_rows=asked, at=2 * EVERY)
    assert found.to_dict() == {"n": [2, 1], "total": [8, 4], "last_x": [7, None]}
    assert found.complete_to == {"clicks": 2 * EVERY, "pages": 2 * EVERY}
    assert found.stale_ms == {"clicks": 0, "pages": 0}
    frame = found.to_df()
    assert frame["last_x"].dtype == "Int64"
    assert frame["last_x"].tolist() == [7, pd.NA]


def test_online_features_by_their_names_as_of_a_time(store: FeatureStore) -> None:
    some = store.get_online_features(["pages:last_x", "n"], [{"user": "u"}], at=4 * EVERY - 1)
    assert some.to_dict() == {"last_x": [None], "n": [1]}
    assert some.stale_ms == {"pages": EVERY, "clicks": EVERY}
    now = store.get_online_features(["n"], [{"user": "u"}])  # decades later
    assert now.to_dict() == {"n": [0]}
    assert now.stale_ms["clicks"] > 40 * 365 * 86_400_000


def test_more_entities_than_one_request_takes(store: FeatureStore) -> None:
    entities = [{"user": "uv"[i % 2], "page": None, "mine": i} for i in range(2_001)]
    found = store.get_online_features(["total"], entities, at=2 * EVERY)
    assert found.to_dict() == {"total": [8, 4] * 1_000 + [8]}
    assert found.stale_ms == {"clicks": 0}


@pytest.mark.parametrize("batch", [1, 2, 50_000])
def test_a_row_out_for_each_row_in(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(stores, "_SENT_ROWS", batch)
    asked = decisions()
    found = store.get_historical_features(asked).to_arrow()
    assert found.select(asked.column_names).equals(asked)
    assert found.select(list(FOUND)).to_pydict() == FOUND


def test_pandas_goes_in_and_comes_out_with_its_types(store: FeatureStore) -> None:
    frame = decisions().to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame = frame.set_index(pd.Index([10, 7, 7, 8, 9]))
    frame["when"] = pd.to_datetime(frame["at"], unit="ms", utc=True).dt.tz_convert("Asia/Tokyo")
    asked = frame.drop(columns="at")
    found = store.get_historical_features(asked, ["last_x", "n"], at="when").to_df()
    assert list(found.columns) == ["mine", "user", "page", "when", "last_x", "n"]
    assert list(found.index) == list(frame.index)
    assert found["mine"].dtype == "Int64"
    assert int(found["mine"].iloc[0]) == HUGE
    assert found["last_x"].tolist() == [7, pd.NA, 7, pd.NA, 7]
    assert found["n"].tolist() == FOUND["n"]


def test_batches_stream_through(store: FeatureStore) -> None:
    reader = pa.RecordBatchReader.from_batches(
        decisions().schema, decisions().to_batches(max_chunksize=2)
    )
    found = list(store.get_historical_features(reader, ["total"]).to_record_batches())
    assert sum(batch.num_rows for batch in found) == 5
    assert pa.Table.from_batches(found)["total"].to_pylist() == FOUND["total"]


def test_only_the_keys_of_what_is_asked_are_needed(store: FeatureStore) -> None:
    asked = decisions().drop_columns(["page"])
    found = store.get_historical_features(asked, ["clicks:n"]).to_arrow()
    assert found["n"].to_pylist() == FOUND["n"]


def test_nothing_in_nothing_out(store: FeatureStore) -> None:
    found = store.get_historical_features(decisions().slice(0, 0)).to_arrow()
    assert (found.num_rows, found.column_names[-3:]) == (0, list(FOUND))


@pytest.mark.parametrize(
    ("asked", "names", "found"),
    [
        (decisions(), ["totl"], "the feature 'totl'.*did you mean 'total'"),
        (decisions(), ["pages:n"], "the feature 'n'"),
        (decisions(), ["page:n"], "the view 'page'.*did you mean 'pages'"),
        (decisions().append_column("n", [[1] * 5]), None, "they have a column 'n'"),
        (decisions().drop_columns(["at"]), None, "asked for the column 'at'"),
        (decisions().drop_columns(["page"]), None, "they have no column page, only mine, at, user"),
        (pa.table({"at": ["soon"], **KEYS}), None, "it is string; give int64 milliseconds"),
        (
            pa.table({"at": [None, 1], "user": ["a", "b"], "page": ["a", "b"]}),
            None,
            "it is int64, and some are null",
        ),
        (pa.table({"at": [1], "user": [["a"]], "page": ["a"]}), None, "column user is list<"),
        (pa.table({"at": [-1], **KEYS}), None, "times from -1 to -1 ms"),
        ({"at": [1]}, None, "features beside a dict; it is no table"),
    ],
)
def test_what_cannot_be_answered(
    store: FeatureStore, asked: object, names: list[str] | None, found: str
) -> None:
    with pytest.raises((StoreError, UnknownName), match=found):
        store.get_historical_features(asked, names).to_arrow()


def test_sql_is_arrow(store: FeatureStore) -> None:
    assert store.sql("SELECT COUNT(*) AS n FROM views.clicks").to_pydict() == {"n": [3]}


def test_a_file_is_opened_without_a_pipeline_that_runs(tmp_path: Path) -> None:
    with processing(tmp_path):
        pass
    with closing(FeatureStore.open(tmp_path, tmp_path / "small.yaml")) as store:
        asked = decisions()
        found = store.get_historical_features(asked).to_arrow()
        assert found.select(asked.column_names).equals(asked)
        assert found.select(list(FOUND)).to_pydict() == FOUND
        marked = store.get_historical_features(asked, ["n", "last_x"], statuses=True).to_arrow()
        assert marked["n__status"].to_pylist() == ["present"] * 2 + ["never_seen"] * 3
        online = store.get_online_features(["last_x", "n"], [{"user": "u", "page": "a"}], at=EVERY)
        assert online.to_dict() == {"last_x": [None], "n": [1]}
        assert store.sql("SELECT COUNT(*) AS n FROM views.clicks").to_pydict() == {"n": [3]}


def test_features_computed_of_others_stand_beside(tmp_path: Path) -> None:
    with processing(tmp_path):
        pass
    computed = "decision: {source: ask, id: name, features: {each_hour: n / hour, more: total + 1}}"
    more = tmp_path / "more.yaml"
    more.write_text(TEXT.replace("decision: {source: ask, id: name}", computed))
    with closing(FeatureStore.open(tmp_path, more)) as store:
        asked = decisions().append_column("hour", [[4, 4, None, 0, 1]])
        found = store.get_historical_features(asked, ["each_hour", "n"]).to_arrow()
        assert found["each_hour"].to_pylist() == [0.5, 0.25, None, None, 0.0]
        assert found["n"].to_pylist() == FOUND["n"]
        online = store.get_online_features(["more"], [{"user": "u"}, {}], at=2 * EVERY)
        assert online.to_dict() == {"more": [9, 1]}
        assert online.stale_ms == {"clicks": 0, "pages": 0}
        with pytest.raises(StoreError, match="'more' is computed of others"):
            store.get_historical_features(asked, ["more"], statuses=True)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    pipeline(tmp_path)
    with pytest.raises(StoreError, match="there is no file"):
        FeatureStore.open(tmp_path, tmp_path / "small.yaml")
