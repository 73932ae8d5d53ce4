"""The store answers the metrics' queries as it answers a user's: one SELECT, locked down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.feature_store.catalogue import Catalogue
from headrace.operators.evaluation import METRICS


@pytest.fixture(scope="module")
def scored() -> tuple[pa.Table, pa.Table]:
    """Give predictions, and the examples of most of them, which come in another order."""
    rng = np.random.default_rng(8)
    p = rng.random(2_000)
    predictions = pa.table({"seq": np.arange(2_000), "p": p, "group": np.arange(2_000) % 9})
    labelled = rng.permutation(2_000)[:1_700]
    label = rng.random(1_700) < p[labelled]
    return predictions, pa.table({"seq": labelled, "label": label})


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_the_stores_rows_is_that_of_the_rows(
    name: str, scored: tuple[pa.Table, pa.Table], tmp_path: Path
) -> None:
    predictions, examples = scored
    metric = METRICS[name]()
    query = metric.sql(
        "duckdb", '(SELECT p, label AS y, "group" FROM predictions JOIN examples USING (seq))'
    )
    catalogue = Catalogue(tmp_path / "store.duckdb")
    for table, rows in (("predictions", predictions), ("examples", examples)):
        catalogue.create(table, rows.schema)
        with catalogue.transaction():
            catalogue.append(table, rows)
    [found] = catalogue.select(query)["value"].to_pylist()
    catalogue.close()
    joined = predictions.take(examples["seq"])
    metric.update(joined["p"], examples["label"], columns={"group": joined["group"]})
    assert metric.n == 1_700
    assert repr(found) == repr(metric.value())
