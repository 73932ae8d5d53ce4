"""What each group of features adds: the groups of a pipeline, and their scores by a plain loop."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from headrace.jobs.checks import served
from headrace.jobs.checks.served import Ask
from headrace.jobs.demo.demonstration import PIPELINE
from headrace.jobs.demo.groups import by_group, groups
from headrace.jobs.examples import labelled
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import PREDICT, Steps
from headrace.online_learning.scores import result, scores
from headrace.online_learning.settings import Ftrl
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

TEXT = """\
pipeline: small
every: 1m
sources:
  ask: {columns: {name: string required, user: string, hour: int64}}
  click: {columns: {name: string required, user: string, x: int64}}
  rain: {columns: {user: string, mm: int64}}
  price: {columns: {user: string, euro: int64}}
streams:
  wet: {from: rain, where: mm > 0}
views:
  rains: {source: wet, key: user, features: {mm: latest(mm)}}
  prices: {source: price, key: user, features: {euro: latest(euro)}}
  clicks: {source: click, key: user, features: {n: count() over 2m}}
  last: {source: click, key: user, features: {x: latest(x)}}
decision: {source: ask, id: name, features: {twice: hour * 2, per_mm: euro * mm}}
outcome: {source: click, id: name, label: x >= 5, within: 1h}
model:
  kind: KIND
  slots: 1024
  bias: true
  tokens: [user, TOKENS]
  publish_every: 1m
  keep: 3
  score_from: 1970-01-01T00:00:01Z
"""
FTRL = "{ftrl}\n  alpha: 0.1\n  beta: 2.0\n  l1: 0.01\n  l2: 0.5"
ALL = "twice, n, mm, [user, mm], euro, [x, mm], per_mm"


def small(folder: Path, *, kind: str = "ftrl", tokens: str = ALL) -> Pipeline:
    path = folder / "small.yaml"
    path.write_text(TEXT.replace("KIND", FTRL.format(ftrl=kind)).replace("TOKENS", tokens))
    return load(path)


def named(pipeline: Pipeline) -> dict[str, list[str]]:
    return {name: [t.name for t in told.encoding.tokens] for name, told in groups(pipeline).items()}


def test_the_groups_go_from_the_decision_over_what_is_looked_up_to_all(tmp_path: Path) -> None:
    own, rain = ["user", "twice"], ["user", "twice", "mm", "user*mm"]
    price = ["user", "twice", "mm", "user*mm", "euro", "per_mm"]
    everything = ["user", "twice", "n", "mm", "user*mm", "euro", "x*mm", "per_mm"]
    assert named(small(tmp_path)) == {
        "ask": own,
        "+ rain": rain,
        "+ price": price,
        "+ windows": everything,
    }
    # A group that adds nothing is left out, and so is one of no tokens.
    assert named(small(tmp_path, tokens="euro")) == {"ask": ["user"], "+ price": ["user", "euro"]}
    none = small(tmp_path, tokens="n")
    none.path.write_text(none.path.read_text().replace("[user, n]", "[n]"))
    assert named(load(none.path)) == {"+ windows": ["n"]}


def test_a_source_that_a_window_reads_is_a_stream(tmp_path: Path) -> None:
    path = small(tmp_path).path
    windowed = "features: {mm: latest(mm), mms: sum(mm) over 1h}}"
    path.write_text(path.read_text().replace("features: {mm: latest(mm)}}", windowed))
    assert list(named(load(path))) == ["ask", "+ price", "+ windows"]


@pytest.mark.parametrize("kind", ["ftrl", "hybrid"])
def test_the_model_is_the_linear_part_of_the_pipelines(tmp_path: Path, kind: str) -> None:
    told = groups(small(tmp_path, kind=kind))
    assert {each.model for each in told.values()} == {Logistic(Ftrl(0.1, 2.0, 0.01, 0.5))}


def test_the_flights_groups_are_schedule_weather_and_windows() -> None:
    pipeline = load(PIPELINE)
    told = named(pipeline)
    assert list(told) == ["schedule", "+ weather", "+ windows"]
    assert told["+ windows"] == ["*".join(token.parts) for token in pipeline.model.tokens]
    assert "origin*wind_dir*wind_speed" in told["+ weather"]
    assert not {"tail_arr_delay", "origin_waiting_3h"} & {*told["+ weather"]}


def store(*, since: int = 0) -> tuple[duckdb.DuckDBPyConnection, list[dict[str, Any]]]:
    """Make a store of decisions, many at one instant, and of labels: early, doubled, late, none."""
    rng = random.Random(3)  # noqa: S311 - a seeded log, no secret
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for seq in range(300):
        at = seq // 3 * 100
        row: dict[str, Any] = {"seq": seq, "at": at, "name": f"d{seq}", "hour": rng.randrange(4)}
        row |= {name: rng.choice([None, 0, 1, 2]) for name in ("mm", "euro", "n", "x")}
        row |= {"user": rng.choice("uvw"), "twice": row["hour"] * 2, "per_mm": rng.randrange(3)}
        times = rng.choice([[], [0], [100], [400], [700, 300], [-100, 900], [3_600_001]])
        told = [
            {"seq": seq, "id": row["name"], "at": at + after, "label": rng.random() < 0.4}
            for after in times
        ]
        counted = [each for each in told if 0 <= each["at"] - at <= 3_600_000]
        first = min(counted, key=lambda each: each["at"], default={"at": None, "label": None})
        rows.append({**row, "labelled": first["at"], "label": first["label"]})
        examples += told
    decisions = ("seq", "at", "name", "user", "hour")
    features = ("mm", "euro", "n", "x", "twice", "per_mm")
    tables = {
        "decisions": pa.Table.from_pylist([{n: row[n] for n in decisions} for row in rows]),
        "predictions": pa.Table.from_pylist(
            [{n: row[n] for n in ("seq", *features)} for row in rows],
            schema=pa.schema([(n, pa.int64()) for n in ("seq", *features)]),
        ),
        "examples": pa.Table.from_pylist(examples),
        "versions": pa.table(
            {
                "kind": ["feature"] * len(features),
                "name": features,
                "since": [since if name == "n" else 0 for name in features],
            }
        ),
    }
    connection = duckdb.connect()
    for name, table in tables.items():
        connection.register("given", table)
        connection.execute(f"CREATE TABLE {name} AS FROM given")
    return connection, rows


def asked(connection: duckdb.DuckDBPyConnection) -> Ask:
    return lambda query: connection.sql(query).to_arrow_table()


def by_a_plain_loop(told: Learning, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Take one step after the other: at an instant the decisions, then the labels."""
    schema = pa.schema([(name, kind.arrow) for name, kind in told.encoding.inputs.items()])
    encoder, model = Encoder(told.encoding), told.model.blank(told.encoding)
    said = {}

    def step(row: dict[str, Any], label: float) -> float:
        x = pa.Table.from_pylist([row], schema=schema)
        steps = Steps(np.zeros(1, np.int64), np.array([label]))
        return float(model.advance(encoder.inputs(x), steps)[0])

    events = [(row["at"], 0, row["seq"]) for row in rows]
    events += [(row["labelled"], 1, row["seq"]) for row in rows if row["labelled"] is not None]
    for _, kind, seq in sorted(events):
        if kind == 0:
            said[seq] = step(rows[seq], PREDICT)
        else:
            step(rows[seq], float(rows[seq]["label"]))
    scored = [row for row in rows if row["labelled"] is not None and row["at"] >= 1_000]
    expected = scores()
    p = np.array([said[row["seq"]] for row in scored])
    expected.update(p, np.array([float(row["label"]) for row in scored]))
    return result(expected)


def test_each_group_scores_as_a_plain_loop_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = small(tmp_path)
    connection, rows = store()
    expected = {name: by_a_plain_loop(told, rows) for name, told in groups(pipeline).items()}
    assert len({each["log_loss"] for each in expected.values()}) == len(expected) == 4
    for part in (1_000, 7):
        monkeypatch.setattr(served, "_PART_ROWS", part)
        found = by_group(groups(pipeline), labelled(pipeline, asked(connection)))
        assert {name: one.score() for name, one in found.items()} == expected
        assert all(one.score_all()["n"] > one.score()["n"] > 100 for one in found.values())


def test_rows_from_before_a_feature_was_declared_are_left_out(tmp_path: Path) -> None:
    connection, rows = store(since=200)
    parts = list(labelled(small(tmp_path), asked(connection)))
    assert [seq for part in parts for seq in part["seq"].to_pylist()] == list(range(200, 300))
    told = {n: [v for part in parts for v in part[n].to_pylist()] for n in ("labelled", "label")}
    assert told == {name: [row[name] for row in rows[200:]] for name in told}


def test_a_store_without_predictions_or_labels_has_no_score(tmp_path: Path) -> None:
    pipeline = small(tmp_path)
    for table, predicted in (("examples", 300), ("predictions", 0)):
        connection, _ = store()
        connection.execute(f"DELETE FROM {table}")
        parts = list(labelled(pipeline, asked(connection)))
        assert sum(part.num_rows for part in parts) == predicted
        found = by_group(groups(pipeline), parts)
        assert {one.score_all()["n"] for one in found.values()} == {0}
