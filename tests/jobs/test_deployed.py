"""A changed file in a cluster: what changes of what is deployed, and what the pods do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.feature_store.catalogue import Catalogue
from headrace.feature_store.shards import Part
from headrace.feature_store.store import Store
from headrace.jobs import assembly, labels, views
from headrace.jobs.deploy.deployed import changed, checked
from headrace.jobs.deploy.kubernetes import resources, write
from headrace.jobs.evolve.lacking import lacking
from headrace.jobs.machine.broker import Broker
from headrace.jobs.machine.job import Job
from headrace.jobs.machine.speaking import for_flink
from headrace.jobs.shard import folder_of
from headrace.jobs.transport import Topic, Writer, create_topics
from headrace.operators.engines.flink import Kafka
from headrace.operators.engines.in_process import Message
from headrace.operators.errors import EnvironmentProblem, StoreError
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import TEXT
from tests.jobs.by_hand import feed, said
from tests.jobs.conftest import Say
from tests.jobs.test_backfill import LAST, SEAM, asks, clicks, compared
from tests.jobs.test_backfill import WHOLE as EARLY
from tests.jobs.test_backfill import pipeline as written
from tests.jobs.test_kubernetes import JOINED, TARGET, WHOLE, pipeline
from tests.jobs.test_plan import BOTH

FIRST = TEXT.replace("views:\n", JOINED + "views:\n", 1) + WHOLE
WINDOW = FIRST.replace("n: count() over 2m,", "n: count() over 2m, m: count() over 9m,")
VIEW = FIRST.replace("decision: {source", f"{BOTH}decision: {{source")
OTHER_LABEL = FIRST.replace("label: x >= 5", "label: x >= 6")
PORT = FIRST.replace("port: 8000", "port: 8080")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What FIRST was deployed by."""
    write(pipeline(tmp_path, FIRST), TARGET, tmp_path / "out")
    return tmp_path / "out"


def sentences(declared: Pipeline, where: Path) -> list[str]:
    return [f"{each.what} {each.name} {each.says}" for each in changed(declared, where).changes]


# --- what changes ---------------------------------------------------------------------------------


def test_what_is_deployed_is_compared_with_the_file(folder: Path, tmp_path: Path) -> None:
    assert sentences(pipeline(tmp_path, FIRST), folder) == []
    assert sentences(pipeline(tmp_path, PORT), folder) == []
    free = "feature m is new, count() over 540 s: nothing is computed, for the tiles are there"
    assert sentences(pipeline(tmp_path, WINDOW), folder) == [free]
    assert sentences(pipeline(tmp_path, VIEW), folder / "pipeline.yaml") == [
        "view both is new: its history is computed",
        "job views job starts anew: from the beginning of its topics",
    ]
    found = changed(pipeline(tmp_path, VIEW), folder)
    assert (found.unchanged, found.costs) == (("clicks", "pages"), ())


def test_a_table_that_changed_is_a_change(folder: Path, tmp_path: Path) -> None:
    """The ConfigMap has the table as it was."""
    first = pipeline(tmp_path, FIRST)
    (tmp_path / "users.csv").write_text("user,city\nu,Rome\n")
    assert sentences(load(first.path), folder) == [
        "job views job starts anew: from the beginning of its topics"
    ]


def test_what_cannot_become_what_is_declared_is_not_written(
    folder: Path, tmp_path: Path, say: Say
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    other = pipeline(tmp_path, FIRST.replace("slots: 1024", "slots: 2048"))
    asked = ["--image", "hub/small", "--checkpoints", "s3://bucket/flink", "--out", folder]
    status, told = say("deploy", "kubernetes", other.path, *asked)
    assert status == 1
    assert (
        f"asked to deploy small.yaml over what is in {folder}; its model is another and learns "
        "anew; deploy it under another name, in `pipeline:` and by --name"
    ) in told
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert checked(other, tmp_path / "another").changes == ()


def test_the_commands_say_what_changes(folder: Path, tmp_path: Path, say: Say) -> None:
    path = pipeline(tmp_path, VIEW).path
    status, told = say("plan", path, "--deployed", folder)
    assert status == 2
    assert "view both is new: its history is computed" in told
    asked = ["--image", "hub/small", "--checkpoints", "s3://bucket/flink", "--out", folder]
    status, told = say("deploy", "kubernetes", path, *asked, "--json")
    assert status == 0
    assert [each["name"] for each in json.loads(told)["plan"]["changes"]] == ["both", "views job"]
    status, told = say("plan", path, "--deployed", folder)
    assert (status, told.splitlines()[-1]) == (0, "nothing changes")


@pytest.mark.parametrize(
    ("text", "said_so"),
    [
        (None, r"No such file.*; give the folder that was written, or the file of its ConfigMap"),
        ("a: [", "while parsing"),
        ("kind: Service", "it is no ConfigMap of a pipeline's file; give the folder that was"),
        ("kind: ConfigMap\ndata: {a.yaml: '', b.yaml: ''}", "no ConfigMap of a pipeline's file"),
        ("kind: ConfigMap\ndata: {small.yaml: 'pipeline: ['}", "this headrace refuses it: .*into"),
    ],
)
def test_what_is_no_deployment_is_refused(tmp_path: Path, text: str | None, said_so: str) -> None:
    where = tmp_path / "found.yaml"
    if text is not None:
        where.write_text(text)
    with pytest.raises(EnvironmentProblem, match=said_so):
        changed(pipeline(tmp_path, FIRST), where)


def test_a_folder_of_another_pipeline_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    first = pipeline(tmp_path, FIRST)
    renamed = tmp_path / "renamed.yaml"
    renamed.write_text(WINDOW)
    assert [each.name for each in changed(load(renamed), folder).changes] == ["m"]
    other = pipeline(tmp_path, FIRST.replace("pipeline: small", "pipeline: other"))
    with pytest.raises(EnvironmentProblem, match=r"the pipeline 'small', and the file .*'other'"):
        checked(other, folder)
    assert first.name == "small"


# --- what the jobs do -----------------------------------------------------------------------------


def states(declared: Pipeline) -> dict[str, list[str]]:
    """Where each job's checkpoints and savepoints are."""
    found = resources(declared, TARGET)
    settings = {job: found[f"{job}.yaml"][0]["spec"]["flinkConfiguration"] for job in JOBS}
    return {
        job: [each[f"execution.checkpointing.{what}"] for what in ("dir", "savepoint-dir")]
        for job, each in settings.items()
    }


JOBS: Mapping[str, Any] = {"views": views.digest, "labels": labels.digest}


@pytest.mark.parametrize(
    ("text", "anew"),
    [(FIRST, []), (WINDOW, []), (PORT, []), (VIEW, ["views"]), (OTHER_LABEL, ["labels"])],
)
def test_a_job_of_another_sql_has_its_state_elsewhere(
    tmp_path: Path, text: str, anew: Sequence[str]
) -> None:
    """So it knows the savepoint of before by its place, and begins anew."""
    before, declared = states(pipeline(tmp_path, FIRST)), pipeline(tmp_path, text)
    now = states(declared)
    assert [job for job in JOBS if now[job] != before[job]] == anew
    for job, digest in JOBS.items():
        assert all(digest(declared) in each.split("/") for each in now[job])


def test_a_job_knows_its_folder_wherever_its_kafka_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a deployment is written with knows neither the broker's address nor the password."""
    monkeypatch.setenv("KAFKA_PASSWORD", "a canary of 20 chars")
    declared = pipeline(tmp_path)
    kafka = Kafka("kafka-1:9093", views.group(declared), for_flink(declared.kafka))
    job = Job("small views", *views.sql(declared, kafka), kafka)
    assert job.digest in states(declared)["views"][0].split("/")


# --- what the store's pod does --------------------------------------------------------------------


RAN = EARLY.replace("  click: {", "  click: {topic: pods-click, ").replace(
    "  ask: {", "  ask: {topic: pods-ask, "
)
NEW = RAN.replace("decision: {source", f"{BOTH}decision: {{source")
SHARDED = RAN.replace("key: user\n", "key: user\n    shards: 2\n") + "store: {shards: 2}\n"
NEW_SHARDED = SHARDED.replace("decision: {source", f"{BOTH}decision: {{source").replace(
    "[user, page], features", "[user, page], shards: 2, features"
)


def opened(declared: Pipeline, state: Path, number: int | None) -> Store:
    """Open the store's file, or a shard's, as the process of a pod does."""
    store, count = state / "store", declared.store_shards
    own = store if number is None else folder_of(store, number)
    own.mkdir(parents=True, exist_ok=True)
    part = Part(count, number)
    told = assembly.declared(declared)
    told = told if number is None else replace(told, kept={})
    return Store(own / "store.duckdb", told, part=part, backfills=store / "backfills")


@pytest.mark.kafka
@pytest.mark.e2e
@pytest.mark.usefixtures("java_and_jars")
def test_a_pod_computes_what_its_store_lacks_before_it_opens(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics: dict[str, Sequence[Message]] = {"click": said(clicks()), "ask": asks(0)}
    create_topics(broker.address, [Topic(f"pods-{name}", 1, {}) for name in topics])
    with Writer(broker.address) as writer:
        for name, messages in topics.items():
            for _, _, _, value in messages:
                writer.send(f"pods-{name}", value, partition=0)
    of_topics = {f"pods-{name}": messages for name, messages in topics.items()}
    for number, texts in ((None, (RAN, NEW)), (1, (SHARDED, NEW_SHARDED))):
        state = tmp_path / f"state-{number}"
        old = written(tmp_path, texts[0])
        store = opened(old, state, number)
        if number is None:
            feed(store, old, topics, until=SEAM)
        store.catalogue.close()
        new = written(tmp_path, texts[1])
        with pytest.raises(StoreError, match="its view 'both' is new, and the stream has begun"):
            opened(new, state, number)
        assert _history(new, broker.address, state, number) == 1
        assert _history(new, broker.address, state, number) == 0  # and not once more
        store = opened(new, state, number)
        assert store.complete("both") >= SEAM
        assert store.views["both"]["tiles"] > 0
        if number is None:
            feed(store, new, topics, until=LAST)
            assert compared(monkeypatch, store, new, of_topics).mismatches == 0
        store.catalogue.close()
        assert _history(new, broker.address, state, number) == 0


def _history(declared: Pipeline, broker: str, state: Path, number: int | None) -> int:
    """Run what an init container runs; give how many views it computed."""
    role = "history" if number is None else f"history-{number}"
    argv = [sys.executable, "-m", "headrace.jobs.cli.main", "process", role, str(declared.path)]
    argv += ["--bootstrap", broker, "--state", str(state)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.count("the history of both is computed")


def test_a_fresh_pod_lacks_nothing(tmp_path: Path) -> None:
    """It begins with the stream."""
    declared = written(tmp_path, NEW)
    file = tmp_path / "store" / "store.duckdb"
    assert lacking(declared, file, tmp_path / "backfills") == {}
    file.parent.mkdir()
    Catalogue(file).close()  # it was killed before it began
    assert lacking(declared, file, tmp_path / "backfills") == {}
