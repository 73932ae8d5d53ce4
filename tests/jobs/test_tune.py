"""A search: the same twice, its losses those of the learner, and what is held back held back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from headrace.jobs import assembly, examples
from headrace.jobs.examples import Examples, of_file
from headrace.jobs.machine import local
from headrace.jobs.machine.state import locked
from headrace.jobs.tune.parts import cut
from headrace.jobs.tune.record import recorded, write
from headrace.jobs.tune.search import Tuned, search
from headrace.online_learning.models.linear import Squared
from headrace.online_learning.models.model import Kind
from headrace.online_learning.prequential import Prequential
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.pipelines.load import load
from headrace.pipelines.models import made
from headrace.pipelines.pipeline import Pipeline
from tests.jobs.conftest import Say
from tests.jobs.made_up_examples import rows, small, written
from tests.jobs.test_groups import asked, store
from tests.jobs.test_groups import small as of_a_store

SPACE = "  tune: {kind: [ftrl, fm], alpha: [0.001, 1.0, log], width: [2, 4, 8], l1: [0.0, 0.1]}\n"
TRIALS = 16
PLACE = 1_500  # where a quarter of the rows begins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return small(folder, SPACE)


@pytest.fixture(scope="module")
def given(folder: Path, pipeline: Pipeline) -> Examples:
    return of_file(pipeline, written(folder))


@pytest.fixture(scope="module")
def found(pipeline: Pipeline, given: Examples) -> Tuned:
    return search(pipeline, given, trials=TRIALS, seed=3)


def kind_of(pipeline: Pipeline, found: Tuned) -> Kind:
    return made(found.best.kind, {**pipeline.tuning.given, **found.best.settings})


def put(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


def test_a_search_is_the_same_twice_and_another_by_another_seed(
    tmp_path: Path, pipeline: Pipeline, given: Examples, found: Tuned
) -> None:
    again = search(pipeline, given, trials=TRIALS, seed=3)
    records = [recorded(pipeline, given, each, trials=TRIALS, seed=3) for each in (found, again)]
    one, two = (write(tmp_path / name, record) for name, record in zip("ab", records, strict=True))
    assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())
    other = search(pipeline, given, trials=2, seed=4)
    assert other.trials[0].settings != found.trials[0].settings


def test_a_record_says_what_made_it(pipeline: Pipeline, given: Examples, found: Tuned) -> None:
    record = orjson.loads(orjson.dumps(recorded(pipeline, given, found, trials=TRIALS, seed=3)))
    assert (record["pipeline"], record["seed"]) == (pipeline.digest, 3)
    assert {"code", "packages", "optuna", "python"} <= set(record["made_by"])
    assert record["examples"]["seq"] == [0, 1_999]
    assert record["examples"]["sha256"] == given.facts["sha256"]
    assert [trial["number"] for trial in record["trials"]] == list(range(TRIALS))
    assert record["declared"] == {"kind": "ftrl", "alpha": 0.01, "l2": 0.5}
    changed = put(given.rows, "hour", pc.add(given.rows["hour"], 1))
    assert Examples(changed).facts["sha256"] != given.facts["sha256"]
    chunks = pa.concat_tables([given.rows.slice(0, 7), given.rows.slice(7)])
    assert Examples(chunks).facts == given.facts


def test_losses_are_the_learners_over_the_parts_that_were_learned(
    pipeline: Pipeline, given: Examples, found: Tuned
) -> None:
    for trial in found.trials[:6]:
        kind = made(trial.kind, {**pipeline.tuning.given, **trial.settings})
        one = Prequential(replace(assembly.learning(pipeline), model=kind))
        rows = PLACE * len(trial.log_loss) // 8
        one.add(given.rows.slice(0, rows))
        assert one.score_all()["log_loss"] == trial.log_loss[-1]


def test_halving_ends_trials_early_and_the_best_is_whole(found: Tuned) -> None:
    lengths = {len(trial.log_loss) for trial in found.trials}
    assert 8 in lengths
    assert lengths & {1, 2, 4}
    assert lengths <= {1, 2, 4, 8}
    for trial in found.trials:
        assert trial.ended == ("whole" if len(trial.log_loss) == 8 else "pruned")
    assert found.best.log_loss[-1] == min(
        t.log_loss[-1] for t in found.trials if t.ended == "whole"
    )
    assert {trial.kind for trial in found.trials} == {"ftrl", "fm"}
    assert all(("width" in trial.settings) == (trial.kind == "fm") for trial in found.trials)


def test_the_gain_is_that_of_decisions_held_back(
    pipeline: Pipeline, given: Examples, found: Tuned
) -> None:
    start = given.rows["at"][PLACE].as_py()
    assert found.held_from_ms == start
    for kind, judged in (
        (pipeline.model.kind, found.present),
        (kind_of(pipeline, found), found.found),
    ):
        told = replace(assembly.learning(pipeline), model=kind, score_from_ms=start)
        one = Prequential(told)
        one.add(given.rows)
        score = one.score()
        assert (score["n"], score["log_loss"], score["auc"]) == tuple(asdict(judged).values())
    assert found.gain == found.present.log_loss - found.found.log_loss > 0


def test_what_is_held_back_chooses_nothing(
    pipeline: Pipeline, given: Examples, found: Tuned
) -> None:
    label = given.rows["label"].to_pylist()
    turned = [v if i < PLACE or v is None else not v for i, v in enumerate(label)]
    other = put(given.rows, "label", pa.array(turned))
    again = search(pipeline, Examples(other), trials=TRIALS, seed=3)
    assert (again.trials, again.best) == (found.trials, found.best)
    assert again.found.log_loss != found.found.log_loss


def test_decisions_of_one_instant_are_on_one_side(tmp_path: Path, pipeline: Pipeline) -> None:
    table = rows(1_996)  # three quarters end within a pair
    assert table["at"][1_496] == table["at"][1_497]
    given = of_file(pipeline, written(tmp_path, table))
    parts = cut(given, assembly.encoding(pipeline), deep=False)
    assert parts.held_back.rows["at"][0].as_py() == parts.held_from_ms
    assert parts.choosing[-1].rows["at"][-1].as_py() < parts.held_from_ms
    tables = [part.rows for part in (*parts.choosing, parts.held_back)]
    assert pa.concat_tables(tables) == given.rows


def test_the_lines_pasted_are_the_settings_that_were_scored(
    tmp_path: Path, pipeline: Pipeline, given: Examples, found: Tuned
) -> None:
    lines = recorded(pipeline, given, found, trials=TRIALS, seed=3)["yaml"]
    text = re.sub(r"  (kind|alpha|l2): .*\n", "", pipeline.path.read_text())
    path = tmp_path / "pasted.yaml"
    path.write_text(text + "".join(f"  {line}\n" for line in lines))
    assert load(path).model.kind == kind_of(pipeline, found)


def test_what_is_searched_is_no_part_of_what_a_pipeline_means(
    tmp_path: Path, pipeline: Pipeline
) -> None:
    plain = small(tmp_path)
    assert plain.digest == pipeline.digest
    assert plain.tuning.kinds == ("ftrl",)
    assert list(plain.tuning.space) == ["alpha", "beta", "l1", "l2"]


def test_a_rate_that_is_far_too_high_is_told(tmp_path: Path, given: Examples) -> None:
    wild = small(tmp_path, "  tune: {kind: [fm], rate: [1.0e+30, 1.0e+35, log]}\n")
    told: list[str] = []
    with pytest.raises(EnvironmentProblem, match="none of 3 trials came to its end"):
        search(wild, given, trials=3, seed=0, tell=lambda trial: told.append(trial.ended))
    assert told == ["not finite"] * 3


def test_too_few_labels_and_labels_all_alike_are_refused(
    pipeline: Pipeline, given: Examples
) -> None:
    for table, what in (
        (given.rows.slice(0, 0), "to choose by; 0 of 0 decisions have a label"),
        (given.rows.slice(0, 200), "to judge by; .. of 50 decisions have a label"),
        (
            given.rows.filter(pc.fill_null(given.rows["label"], True)),
            "to choose by; their labels are all alike",
        ),
    ):
        with pytest.raises(EnvironmentProblem, match=what):
            search(pipeline, Examples(table), trials=1, seed=0)
    number = replace(pipeline, model=replace(pipeline.model, kind=Squared()))
    with pytest.raises(HeadraceError, match="the kind 'linear' predicts no single bool"):
        search(number, given, trials=1, seed=0)


def test_a_file_of_examples_is_read_in_order_and_late_labels_are_none(
    tmp_path: Path, pipeline: Pipeline, given: Examples
) -> None:
    table = rows()
    late = pc.greater(pc.subtract(table["labelled"], table["at"]), 3_600_000).fill_null(False)
    assert pc.sum(late).as_py() > 100
    kept = given.rows.filter(late)
    assert kept["label"].null_count == kept["labelled"].null_count == kept.num_rows
    shuffled = np.random.default_rng(2).permutation(1_000)  # pairs stay in their order
    order = np.stack([shuffled * 2, shuffled * 2 + 1], axis=1).ravel()
    again = of_file(pipeline, written(tmp_path, table.take(pa.array(order))))
    assert again.facts == given.facts


def test_a_file_that_is_none_is_refused(tmp_path: Path, pipeline: Pipeline) -> None:
    table = rows(10)
    early = pa.array(table["at"].to_numpy() - 1)
    for wrong, said in (
        (table.drop(["x", "label"]), "it has no column 'label', 'x'; add it"),
        (put(table, "user", pa.array([[1]] * 10)), "write the types that the pipeline"),
        (put(table, "labelled", early), "a label is earlier than its decision"),
        (put(table, "at", pa.nulls(10, pa.int64())), "a decision has no time"),
    ):
        with pytest.raises(HeadraceError, match=said):
            of_file(pipeline, written(tmp_path, wrong))
    (tmp_path / "text").write_text("no Parquet")
    for name in ("text", "missing"):
        with pytest.raises(HeadraceError, match="give a Parquet file"):
            of_file(pipeline, tmp_path / name)


def test_the_command_prints_the_lines_and_leaves_a_record(
    folder: Path, tmp_path: Path, pipeline: Pipeline, say: Say
) -> None:
    state = tmp_path / "state"
    words = ("tune", pipeline.path, "--from", written(folder), "--trials", TRIALS, "--seed", 3)
    status, text = say(*words, "--state", state)
    assert status == 0
    assert "\nmodel:\n  kind: " in text
    [path] = (state / "tune").iterdir()
    assert text.rstrip().endswith(f"record: {path}")
    with locked(state, "up", resume=True):  # as `up` takes it
        status, text = say(*words, "--state", state, "--json")
    assert status == 0
    record = json.loads(text)
    assert record.pop("record") == str(path)
    assert record == json.loads(path.read_bytes())
    assert [path] == list((state / "tune").iterdir())


def test_examples_of_a_store_without_predictions_are_refused() -> None:
    with pytest.raises(EnvironmentProblem, match="asked for the examples in s; it has no predict"):
        examples.of_parts([], "s")


def test_the_command_reads_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: Say
) -> None:
    connection, told = store()
    client = SimpleNamespace(sql=asked(connection))
    places: list[object] = []

    @contextmanager
    def reached(_: Pipeline, state: Path, what: str) -> Iterator[tuple[str, SimpleNamespace]]:
        places.extend([state, what])
        yield "memory", client

    monkeypatch.setattr(local, "reached", reached)
    monkeypatch.setattr("headrace.jobs.tune.parts._FEWEST_LABELS", 10)
    path, state = of_a_store(tmp_path).path, tmp_path / "state"
    status, text = say("tune", path, "--trials", 3, "--state", state, "--json")
    assert status == 0
    record = json.loads(text)
    assert places == [state, "tune"]
    labels = sum(row["label"] is not None for row in told)
    assert (record["examples"]["rows"], record["examples"]["labels"]) == (300, labels)
    assert record["examples"]["seq"] == [0, 299]
