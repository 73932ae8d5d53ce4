"""The score over tables is that of the learner over topics, however the tables are cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.online_learning.learner import Learner
from headrace.online_learning.learning import Learning
from headrace.online_learning.prequential import Prequential
from headrace.online_learning.settings import LearningError
from tests.online_learning.made_up import ENCODING, EVERY, SETTINGS, WITHIN, log

LOG = log()
X = pa.schema([(name, kind.arrow) for name, kind in ENCODING.inputs.items()])
TOLD = {
    "tokens": SETTINGS,
    "a share of the negatives": replace(SETTINGS, negatives=0.5),
    "numbers and a weight": replace(
        SETTINGS, encoding=replace(ENCODING, numbers=("delay",), weight="hour")
    ),
}


def labels() -> dict[int, dict[str, Any]]:
    """Give each decision its first label in time, if it has one."""
    first: dict[int, dict[str, Any]] = {}
    for event in sorted(LOG.labelled, key=lambda event: event["at"]):
        decision = event["prediction"]
        if 0 <= event["at"] - decision["at"] <= WITHIN:
            first.setdefault(decision["seq"], event)
    return first


def table() -> pa.Table:
    """Make the rows; hours weigh, so that none is below 0."""
    found = labels()
    xs = [decision["x"] | {"hour": abs(decision["x"]["hour"] or 0)} for decision in LOG.decided]
    told = [found.get(decision["seq"], {}) for decision in LOG.decided]
    rows = pa.Table.from_pylist(xs, schema=X)
    columns: dict[str, pa.Array] = {
        "seq": pa.array([decision["seq"] for decision in LOG.decided]),
        "at": pa.array([decision["at"] for decision in LOG.decided]),
        "labelled": pa.array([each.get("at") for each in told], pa.int64()),
        "label": pa.array([each.get("label") for each in told], pa.bool_()),
    }
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def by_the_learner(settings: Learning, folder: Path) -> dict[str, Any]:
    """Feed the same rows as messages."""
    rows = table().to_pylist()
    said: list[dict[str, Any]] = []
    panes: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        x = {name: row[name] for name in X.names}
        seq = row["seq"]
        said.append({"seq": seq, "id": "", "at": row["at"], "x": x, "p": 0.5, "version": 0})
        if row["labelled"] is not None:
            example = {"at": row["labelled"], "partition": 0, "offset": seq, "label": row["label"]}
            panes.setdefault(example["at"] // EVERY, []).append(example | {"prediction": said[-1]})
    end = (max(panes) + 1) * EVERY
    predictions = [*said, {"seq": len(said) - 1, "through": end}]
    examples = [{"end": (p + 1) * EVERY, "examples": panes[p]} for p in sorted(panes)]
    learner = Learner(settings, folder)
    learner.predictions([orjson.dumps(each) for each in predictions], len(predictions))
    learner.examples([orjson.dumps(each) for each in examples], len(examples))
    learner.advance()
    status = learner.status()
    learner.close()
    return status


@pytest.mark.parametrize("name", TOLD)
def test_it_is_the_learners_however_the_rows_are_cut(name: str, tmp_path: Path) -> None:
    rows = table()
    status = by_the_learner(TOLD[name], tmp_path)
    assert 0 < status["prequential"]["n"] < status["prequential_all"]["n"] < rows.num_rows
    for size in (1, 7, 1_000):
        one = Prequential(TOLD[name])
        one.add(rows.slice(0, 0))
        for start in range(0, rows.num_rows, size):
            one.add(rows.slice(start, size))
        assert one.score() == status["prequential"]
        assert one.score_all() == status["prequential_all"]


def test_what_would_tell_the_future_is_refused() -> None:
    rows = table()
    back = rows.take(pa.array([5, 0]))
    assert back["at"][0].as_py() > back["at"][1].as_py()
    with pytest.raises(LearningError, match="one is earlier than one before it; sort them by at"):
        Prequential(SETTINGS).add(back)
    one = Prequential(SETTINGS)
    one.add(rows.slice(5))
    with pytest.raises(LearningError, match="one is earlier than one before it"):
        one.add(rows.slice(0, 1))
    early = rows.set_column(
        rows.schema.get_field_index("labelled"), "labelled", pa.array(rows["at"].to_numpy() - 1)
    )
    early = early.filter(pa.array(np.array(rows["label"].is_valid())))
    with pytest.raises(LearningError, match="a label is earlier than its decision; leave it out"):
        Prequential(SETTINGS).add(early)
