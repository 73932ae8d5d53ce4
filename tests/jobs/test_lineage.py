"""What a lineage backend is told: which job, which data, which column is made of which."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.jobs.lineage.datasets import JOBS, Dataset, Field, flow
from headrace.jobs.lineage.emitting import running
from headrace.jobs.machine.broker import free_ports
from headrace.jobs.machine.waiting import wait_until
from headrace.operators.made_of import Made, made_of, tiles_made_of
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests import streams
from tests.feature_store.made_up import pipeline
from tests.jobs.receiver import Receiver, received

ROOT = Path(__file__).parent.parent.parent
FILES = [*sorted((ROOT / "pipelines" / "examples").glob("*.yaml")), *ROOT.glob("benchmarks/*.yaml")]
OPERATORS = sorted(
    path.stem
    for path in streams.CASES.glob("*.txt")
    if path.stem not in ("as_of", "interval_join")  # no steps of a stream
)
PATH = "/api/v1/lineage"
installed = pytest.mark.skipif(
    importlib.util.find_spec("openlineage") is None,
    reason="no openlineage found: it comes with the extra 'lineage'",
)
TEXT = """\
pipeline: shop
every: 1m
sources:
  ask: {columns: {name: string required, user: string, hour: int64}}
  done: {columns: {name: string required, paid: int64, refund: int64}}
  click:
    columns: {user: string, price: int64, count: int64, page: string}
    derive: {spent: price * count, twice: 2 * price * count}
  old: {columns: {user: string, page: string}, files: old.csv}
streams:
  dear: {from: click, where: price > 10, derive: {tax: twice + 1}, select: [user, tax]}
views:
  spending: {source: click, key: user, features: {total: sum(spent) over 1h, n: count() over 1h}}
  taxes: {source: dear, key: user, features: {dear_tax: mean(tax) over 1h}}
  first: {source: old, key: user, features: {last_page: latest(page)}}
decision: {source: ask, id: name, features: {each: total / n}}
outcome: {source: done, id: name, label: paid - refund > 0, within: 1h}
model: {kind: ftrl, slots: 1024, buckets: {each: [9]}, tokens: [hour, each], publish_every: 1m}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Pipeline:
    (tmp_path / "old.csv").write_text("at,user,page\n1,u,p\n")
    (path := tmp_path / "shop.yaml").write_text(TEXT)
    return load(path)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.delenv("OPENLINEAGE_DISABLED", raising=False)
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE__")]:
        monkeypatch.delenv(name)
    with received() as receiver:
        monkeypatch.setenv("OPENLINEAGE_URL", receiver.address)
        yield receiver
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE__")]:
        del os.environ[name]  # which the client sets itself


def events(backend: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for body in backend.bodies(PATH)]


def out(declared: Pipeline, job: str, name: str) -> Dataset:
    outputs = flow(declared, job, "k:1,k:2", Path("/s")).outputs
    (one,) = (each for each in outputs if each.place[1].endswith(name))
    return one


def of(field: Field) -> set[str]:
    """Name what a column is made of, as ``topic.column``."""
    return {f"{name.rpartition('/')[2]}.{column}" for (_, name), column in field.of}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_column_is_made_of_columns_that_its_job_reads(path: Path) -> None:
    declared, columns = load(path), 0
    for job in JOBS:
        told = flow(declared, job, "k:1", Path("state"))
        known = {each.place: each.fields for each in told.inputs}
        assert len(known) == len(told.inputs), job
        assert len({each.place for each in told.outputs}) == len(told.outputs), job
        for dataset in told.outputs:
            for field in dataset.fields.values():
                for place, column in field.of:
                    assert column in known[place], (job, dataset.place, column)
                    columns += 1
    assert columns > 30


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_column_of_a_stream_is_made_of_columns_of_sources(
    operator: str, tmp_path: Path
) -> None:
    cases = streams.read(streams.CASES / f"{operator}.txt")
    for case in cases:
        declared = streams.pipeline_of(tmp_path, case.streams)
        assert all(flow(declared, job, "k:1", tmp_path).outputs for job in JOBS)
        for stream in declared.streams.values():
            made = made_of(stream)
            assert set(stream.types) <= set(made)
            for name, each in made.items():
                assert each.of or name not in stream.types
                for source, column in each.of:
                    assert column in declared.sources[source].types, (stream.name, name)


def test_a_tile_is_made_of_what_its_aggregate_and_the_steps_below_read(shop: Pipeline) -> None:
    spending = tiles_made_of(shop.views["spending"])
    assert spending["sum_spent"] == Made(frozenset({("click", "price"), ("click", "count")}))
    assert spending["user"] == Made(frozenset({("click", "user")}), same=True)
    assert spending["rows"] == Made(frozenset({("click", "at")}))
    assert spending["end"] == Made(frozenset({("click", "at")}))
    taxes = tiles_made_of(shop.views["taxes"])
    assert taxes["sum_tax"] == spending["sum_spent"]
    topic = out(shop, "views", shop.view_topic(shop.views["spending"]))
    assert topic.place[0] == "kafka://k:1"
    assert of(topic.fields["sum_spent"]) == {"click.price", "click.count"}


def test_a_prediction_is_made_of_tiles_and_of_the_decision(shop: Pipeline) -> None:
    spending = shop.view_topic(shop.views["spending"])
    fields = out(shop, "store", "shop.predictions").fields
    assert of(fields["x.each"]) == {f"{spending}.sum_spent", f"{spending}.rows"}
    assert of(fields["x.hour"]) == {"shop.decisions.hour"}
    assert of(fields["p"]) == of(fields["x.each"]) | of(fields["x.hour"])
    assert set(fields) == {"seq", "id", "at", "p", "version", "x.each", "x.hour"}
    table = out(shop, "store", "main.predictions")
    assert table.place == ("duckdb:///s/store/store.duckdb", "store.main.predictions")
    (past,) = {name.rpartition("/")[2].rpartition(".")[0] for name in of(table.fields["last_page"])}
    assert past.startswith("first-")  # of a view of files: its backfill
    label = out(shop, "labels", "shop.examples").fields["label"]
    assert of(label) == {"done.paid", "done.refund"}
    learned = flow(shop, "learner", "k:1", Path("/s"))
    assert [each.place for each in learned.outputs if each.versioned] == [
        ("file", "/s/learner/versions")
    ]


@installed
@pytest.mark.parametrize("job", JOBS)
def test_a_job_tells_that_it_starts_and_that_it_is_complete(
    shop: Pipeline, tmp_path: Path, backend: Receiver, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "here")
    with running(shop, job, "k:1", tmp_path) as run:
        run.version(7)
        run.version(7)
    first, version, last = events(backend)
    told = [each["eventType"] for each in (first, version, last)]
    assert told == ["START", "RUNNING", "COMPLETE"]
    assert {each["run"]["runId"] for each in (first, version, last)} == {first["run"]["runId"]}
    assert first["eventTime"] <= version["eventTime"] <= last["eventTime"]
    assert (first["job"]["namespace"], first["job"]["name"]) == ("here", f"shop.{job}")
    kind = first["job"]["facets"]["jobType"]
    assert kind["processingType"] == ("BATCH" if job == "backfill" else "STREAMING")
    assert "sourceCodeLocation" not in first["job"]["facets"]
    declared = flow(shop, job, "k:1", tmp_path)
    for side, datasets in (("inputs", declared.inputs), ("outputs", declared.outputs)):
        found = {(each["namespace"], each["name"]): each.get("facets", {}) for each in first[side]}
        assert set(found) == {each.place for each in datasets}
        for each in datasets:
            schema = found[each.place].get("schema", {"fields": []})
            named = {told["name"]: told["type"] for told in schema["fields"]}
            assert named == {name: field.type for name, field in each.fields.items()}
            made = found[each.place].get("columnLineage", {"fields": {}})["fields"]
            assert {
                name: {((f["namespace"], f["name"]), f["field"]) for f in told["inputFields"]}
                for name, told in made.items()
            } == {name: set(field.of) for name, field in each.fields.items() if field.of}
    versions = {
        each["name"]: each["facets"]["version"]["datasetVersion"]
        for each in version["outputs"]
        if "version" in each["facets"]
    }
    assert versions == ({f"{tmp_path}/learner/versions": "7"} if job == "learner" else {})


@installed
@pytest.mark.parametrize(
    ("ended", "state"),
    [
        (ValueError("canary of a row"), "FAIL"),
        (KeyboardInterrupt(), "ABORT"),
        (SystemExit(0), "COMPLETE"),
        (SystemExit(1), "ABORT"),
    ],
    ids=repr,
)
def test_how_a_job_ended_is_told_and_not_what_its_error_says(
    ended: BaseException, state: str, shop: Pipeline, tmp_path: Path, backend: Receiver
) -> None:
    with pytest.raises(type(ended)), running(shop, "labels", "k:1", tmp_path):
        raise ended
    first, last = events(backend)
    assert (first["eventType"], last["eventType"]) == ("START", state)
    message = last["run"]["facets"].get("errorMessage", {}).get("message")
    assert message == ("ValueError" if state == "FAIL" else None)
    assert b"canary" not in b"".join(backend.bodies(PATH))


@installed
def test_a_job_that_goes_on_elsewhere_tells_no_end(
    shop: Pipeline, tmp_path: Path, backend: Receiver
) -> None:
    with running(shop, "views", "k:1", tmp_path, ends=False):
        pass
    assert [each["eventType"] for each in events(backend)] == ["START"]


@installed
def test_nobody_waits_for_a_backend_that_does_not_answer(
    shop: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with received(holds=True) as slow:
        transport = {"type": "http", "url": slow.address, "timeout": 600}
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
        monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
        with running(shop, "learner", "k:1", tmp_path) as run:
            wait_until(lambda: bool(slow.bodies(PATH)), 60, "the first event")
            for number in range(1, 200):  # more than may wait
                run.version(number)
        assert slow.answered == 0  # and the job has ended
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert [line.rpartition(": ")[2] for line in said] == ["too much waits for an answer"]


@installed
def test_a_backend_that_is_away_is_told_of_once(
    shop: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (port,) = free_ports(1)
    url = f"http://user:canary@127.0.0.1:{port}"
    transport = {"type": "http", "url": url, "retry": {"total": 2}}
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT", json.dumps(transport))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "http")
    with running(shop, "learner", "k:1", tmp_path) as run:
        for number in range(1, 4):
            run.version(number)
        wait_until(lambda: bool(caplog.records), 60, "the log's line")
    (line,) = (each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING)
    assert line.endswith("ConnectionError; it is tried again with the next event")
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "install headrace[lineage]"),
        ({"OPENLINEAGE_URL": "nowhere"}, "its settings are refused: ValueError"),
    ],
)
def test_what_cannot_begin_is_said_and_nothing_ends(
    variables: dict[str, str],
    said: str,
    shop: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    backend: Receiver,
) -> None:
    if not variables:
        monkeypatch.setitem(sys.modules, "openlineage.client", None)
    elif importlib.util.find_spec("openlineage") is None:
        pytest.skip("no openlineage found: it comes with the extra 'lineage'")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with running(shop, "store", "k:1", tmp_path):
        pass
    wait_until(lambda: bool(caplog.records), 60, "the log's line")
    (line,) = (each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING)
    assert line.startswith("lineage, which OPENLINEAGE_… asks for, is not told")
    assert line.endswith(said)
    assert backend.posted == {}


def test_without_the_variables_nothing_is_imported(tmp_path: Path) -> None:
    pipeline(tmp_path)
    code = (
        "import sys; from pathlib import Path; from headrace.pipelines.load import load\n"
        "from headrace.jobs.lineage.emitting import running\n"
        "declared = load(Path(sys.argv[1]))\n"
        "with running(declared, 'store', 'k:1', Path('s')): pass\n"
        "print([name for name in sys.modules if name.startswith('openlineage')])"
    )
    environment = {n: v for n, v in os.environ.items() if not n.startswith("OPENLINEAGE_")}
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "small.yaml")],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    assert told.stdout == "[]\n"
