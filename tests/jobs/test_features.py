"""The features in Python: what goes in comes out, row for row, with the store's own values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pandas as pd
import pyarrow as pa
import pytest

from headrace.jobs import features
from headrace.jobs.features import FeatureStore
from headrace.jobs.state import write_json
from headrace.operators.errors import StoreError, UnknownName
from tests.feature_store.made_up import EVERY
from tests.jobs.test_server import processing, serving

HUGE = 2**53 + 1


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
    found = store.get_online_features([{"user": "u", "page": "a"}, {"user": "v"}], at=2 * EVERY)
    assert found.to_dict() == {"n": [2, 1], "total": [8, 4], "last_x": [7, None]}
    assert found.complete_to == {"clicks": 2 * EVERY, "pages": 2 * EVERY}
    some = store.get_online_features([{"user": "u"}], ["last_x", "n"], at=EVERY)
    assert some.to_arrow().column_names == ["last_x", "n"]
    now = store.get_online_features([{"user": "u"}], ["n"])  # decades later
    assert now.to_dict() == {"n": [0]}


@pytest.mark.parametrize("batch", [1, 2, 50_000])
def test_a_row_out_for_each_row_in(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(features, "_BATCH_ROWS", batch)
    asked = decisions()
    found = store.get_historical_features(asked)
    assert found.select(asked.column_names).equals(asked)
    assert found.select(list(FOUND)).to_pydict() == FOUND


def test_pandas_goes_in_and_comes_out_with_its_types(store: FeatureStore) -> None:
    frame = decisions().to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame = frame.set_index(pd.Index([10, 7, 7, 8, 9]))
    frame["when"] = pd.to_datetime(frame["at"], unit="ms", utc=True).dt.tz_convert("Asia/Tokyo")
    found = store.get_historical_features(frame.drop(columns="at"), ["last_x", "n"], at="when")
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
    found = list(store.iter_historical_features(reader, ["total"]))
    assert [batch.num_rows for batch in found] == [2, 2, 1]
    assert pa.Table.from_batches(found)["total"].to_pylist() == FOUND["total"]


def test_nothing_in_nothing_out(store: FeatureStore) -> None:
    found = store.get_historical_features(decisions().slice(0, 0))
    assert (found.num_rows, found.column_names[-3:]) == (0, list(FOUND))


@pytest.mark.parametrize(
    ("asked", "names", "found"),
    [
        (decisions(), ["totl"], "the feature 'totl'.*did you mean 'total'"),
        (decisions().drop_columns(["at"]), None, "asked for the column 'at'"),
        (decisions().drop_columns(["page"]), None, "they have no column page, only mine, user, at"),
        (pa.table({"at": ["soon"]}), None, "it is string; give int64 milliseconds"),
        (pa.table({"at": [None, 1]}), None, "it is int64, and some are null"),
        (pa.table({"at": [1], "user": [["a"]], "page": ["a"]}), None, "column user is list<"),
        ({"at": [1]}, None, "features beside a dict; it is no table"),
    ],
)
def test_what_cannot_be_answered(
    store: FeatureStore, asked: object, names: list[str] | None, found: str
) -> None:
    with pytest.raises((StoreError, UnknownName), match=found):
        store.get_historical_features(asked, names)


def test_sql_is_arrow(store: FeatureStore) -> None:
    assert store.sql("SELECT COUNT(*) AS n FROM views.clicks").to_pydict() == {"n": [3]}
