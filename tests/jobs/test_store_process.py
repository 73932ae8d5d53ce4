"""The store process publishes each prediction once, swaps versions, and keeps them when broken."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.jobs import assembly, transport
from headrace.jobs.machine.broker import Broker
from headrace.jobs.store import StoreProcess
from headrace.jobs.transport import LogGap, Reader, Writer, create_topics, ends
from headrace.jobs.weights import weights_of
from headrace.online_learning.registry import Registry
from headrace.operators.errors import CorruptError
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, clicks, decisions, pages, pipeline
from tests.jobs.in_memory import Killed, Log

COUNT = 6


@pytest.fixture
def small(tmp_path: Path) -> Pipeline:
    return pipeline(tmp_path)


def panes(small: Pipeline, steps: int) -> Iterator[tuple[str, int, bytes]]:
    """Say what the stream writes: at each step a click and two decisions."""
    click, page = (small.view_topic(small.views[name]) for name in ("clicks", "pages"))
    for step in range(1, steps + 1):
        end = step * EVERY
        yield click, 0, clicks(end, u=step)
        yield page, 0, pages(end, a=step)
        yield page, 1, pages(end)
        rows = [(end, 0, 2 * step, f"d{2 * step}"), (end + 1, 0, 2 * step + 1, f"d{2 * step + 1}")]
        yield small.decisions_topic, 0, decisions(end + EVERY, *rows)


def publish(
    folder: Path,
    small: Pipeline,
    number: int,
    champion: int | None = None,
    gate: dict[str, Any] | None = None,
) -> None:
    """Publish a version whose weights are all `number`; it is the champion unless another is."""
    encoding = assembly.encoding(small)
    ids = np.arange(encoding.slots)
    registry = Registry(folder / "models")
    registry.publish(
        number,
        {"ids": ids, "weights": np.full(len(ids), number / 10), "moments": np.zeros((0, 3))},
        encoding=encoding.digest,
        model=small.model.kind.facts,
        through_ms=number * EVERY,
        offsets={},
        metrics={},
        gate=gate,
    )
    chosen = number if champion is None else champion
    registry.judged(number, champion=chosen, through_ms=number * EVERY)


def told(values: list[bytes | None]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Part the messages of the predictions topic: predictions, and words of progress."""
    rows = [orjson.loads(value) for value in values if value is not None]
    return [row for row in rows if "id" in row], [row for row in rows if "id" not in row]


def in_log(log: Log, small: Pipeline) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return told([said.value for said in log.messages[small.predictions_topic, 0]])


@pytest.mark.parametrize("written", range(12))
def test_killed_at_any_message_each_prediction_is_published_once(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """What was committed and not published when it was killed is published by the next one."""
    log = Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    for topic, partition, value in panes(small, COUNT):
        log.put(topic, value, partition=partition)
    log.left = written
    with pytest.raises(Killed):
        process.step()
    assert process.store.counts["predictions"] == 2 * COUNT  # the commit stands
    process.store.catalogue.close()
    log.left = None
    publish(tmp_path / "store", small, 1)
    again = log.process(small, tmp_path / "store")
    assert in_log(log, small)[0][-1]["seq"] == 2 * COUNT - 1
    again.step()
    published, progress = in_log(log, small)
    assert [row["seq"] for row in published] == list(range(2 * COUNT))
    assert {row["version"] for row in published} == {0}  # as it was made, not as it is sent
    assert [row["x"]["n"] for row in published] == [1, 1, *[2] * (2 * COUNT - 2)]
    assert progress[-1] == {"seq": 2 * COUNT - 1, "through": (COUNT + 1) * EVERY}
    again.close()


def test_a_file_that_is_lost_takes_what_was_published_from_the_topic(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was served by the version of then; a newer one must not speak for it."""
    log = Log()
    log.install(monkeypatch)
    folder = tmp_path / "store"
    process = log.process(small, folder)
    messages = list(panes(small, COUNT))
    for topic, partition, value in messages:
        log.put(topic, value, partition=partition)
    process.step()
    kept = process.store.catalogue.read("SELECT * FROM predictions ORDER BY seq")
    process.close()
    before = list(log.messages[small.predictions_topic, 0])
    publish(folder, small, 1)
    (folder / "store.duckdb").unlink()
    again = log.process(small, folder)
    while again.step():
        pass
    assert (again.behind, log.reading) == (0, 0)
    assert again.store.catalogue.read("SELECT * FROM predictions ORDER BY seq").equals(kept)
    assert log.messages[small.predictions_topic, 0] == before  # nothing twice, no progress back
    for topic, partition, value in list(panes(small, COUNT + 1))[len(messages) :]:
        log.put(topic, value, partition=partition)
    again.step()
    assert [row["version"] for row in in_log(log, small)[0]] == [0] * 2 * COUNT + [1, 1]
    again.close()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"x": {"hour": 7, "n": 9}}, "as it was published; the topic has"),
        ({"id": "other"}, "as it was published; the topic has"),
        ({"seq": 77}, "it has no prediction 0"),
    ],
)
def test_a_topic_of_another_log_is_refused(
    tmp_path: Path,
    small: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    wrong: dict[str, object],
    found: str,
) -> None:
    log = Log()
    log.install(monkeypatch)
    for topic, partition, value in panes(small, 1):
        log.put(topic, value, partition=partition)
    process = log.process(small, tmp_path / "store")
    process.step()
    process.close()
    (tmp_path / "store" / "store.duckdb").unlink()
    place = small.predictions_topic, 0
    first = log.messages[place][0]
    log.messages[place][0] = replace(
        first, value=orjson.dumps({**orjson.loads(first.value or b""), **wrong})
    )
    again = log.process(small, tmp_path / "store")
    with pytest.raises(CorruptError, match=found):
        again.step()
    again.close()


def test_a_message_that_is_left_out_is_a_gap(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    messages = list(panes(small, 3))
    for topic, partition, value in messages:
        log.put(topic, value, partition=partition)
    place = small.decisions_topic, 0
    del log.messages[place][1]
    with pytest.raises(LogGap, match="offset 1; offset 1 is gone, the earliest is 2, 1 messages"):
        process.step()
    process.close()
    again = log.process(small, tmp_path / "store")
    assert set(again.read.values()) == {0}  # nothing of the batch was kept
    again.close()


@pytest.mark.parametrize("topic", ["clicks", "pages", "decisions"])
def test_a_pane_that_comes_again_with_other_content_is_refused(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    log = Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    messages = list(panes(small, 3))
    for name, partition, value in messages:
        log.put(name, value, partition=partition)
        log.put(name, value, partition=partition)  # the same again is passed over
    process.step()
    other = {
        "clicks": clicks(EVERY, u=77),
        "pages": pages(2 * EVERY, a=77),
        "decisions": decisions(2 * EVERY, (EVERY, 0, 2, "another")),
    }[topic]
    at = small.decisions_topic if topic == "decisions" else small.view_topic(small.views[topic])
    log.put(at, other)
    with pytest.raises(CorruptError, match=r"had come before; 1 of its 1 rows are not"):
        process.step()
    process.close()


def test_the_drift_of_features_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each period that is whole; after a kill between a commit and its metrics, too."""
    baseline = "[1970-01-01T00:00:00Z, 1970-01-01T00:03:00Z]"
    drifting = pipeline(tmp_path, f"drift: {{baseline: {baseline}, every: 2m}}\n")
    log = Log()
    log.install(monkeypatch)
    for topic, partition, value in panes(drifting, COUNT):
        log.put(topic, value, partition=partition)
    with monkeypatch.context() as killed:
        killed.setattr(StoreProcess, "_tell_drift", lambda _: None)
        process = log.process(drifting, tmp_path / "store")
        process.step()
        process.close()
    for _ in range(2):
        process = log.process(drifting, tmp_path / "store")
        process.step()
        query = "SELECT * FROM metrics ORDER BY name"
        found = process.store.catalogue.read(query).to_pylist()
        process.close()
        # Of n the baseline has 1, 1, 2, 2, the period from 4 to 6 minutes 2, 2, 2, 2.
        assert [(row["at"], row["name"]) for row in found] == [
            (6 * EVERY, f"psi.{name}") for name in ("last_x", "n", "total")
        ]
        assert next(row["value"] for row in found if row["name"] == "psi.n") == pytest.approx(
            0.4 * (math.log(5) + math.log(1.8))
        )


def test_progress_is_said_again_while_it_rests(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log()
    log.install(monkeypatch)
    clock = [100.0]
    monkeypatch.setattr("headrace.jobs.store.time.monotonic", lambda: clock[0])
    process = log.process(small, tmp_path / "store")
    process.step()
    clock[0] += 10
    process.step()
    assert in_log(log, small) == ([], [])  # there is none yet
    for topic, partition, value in panes(small, 1):
        log.put(topic, value, partition=partition)
    for _ in range(3):
        process.step()
    assert in_log(log, small)[1] == [{"seq": 1, "through": 2 * EVERY}]
    clock[0] += 10
    process.step()
    process.step()
    assert in_log(log, small)[1] == [{"seq": 1, "through": 2 * EVERY}] * 2
    process.close()


def test_versions_are_swapped_between_steps(
    tmp_path: Path,
    small: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()
    log.install(monkeypatch)
    folder = tmp_path / "store"
    process = log.process(small, folder)
    messages = list(panes(small, 4))

    def step(number: int) -> list[int]:
        for topic, partition, value in messages[4 * number : 4 * number + 4]:
            log.put(topic, value, partition=partition)
        process.step()
        return [row["version"] for row in in_log(log, small)[0][-2:]]

    assert step(0) == [0, 0]
    publish(folder, small, 1)
    assert step(1) == [1, 1]
    with caplog.at_level(logging.WARNING):
        publish(folder, small, 2)
        weights = folder / "models" / "v000002" / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
        assert step(2) == [1, 1]
        process.step()
        process.step()
    (warning,) = caplog.messages  # once, though it is looked at in every step
    assert "version 1 stays" in warning
    assert "sha256" in warning
    assert process.status()["model_version"] == 1
    publish(folder, small, 3)
    assert step(3) == [3, 3]
    published = in_log(log, small)[0]
    assert published[0]["p"] == 0.5 < published[2]["p"] < published[-1]["p"]
    told = process.store.catalogue.select("SELECT number, parent, through FROM models ORDER BY ALL")
    assert told.to_pylist() == [
        {"number": n, "parent": n - 1, "through": n * EVERY} for n in (1, 2, 3)
    ]
    weights = process.store.catalogue.select(
        "SELECT version, COUNT(*) AS n, MIN(value) AS least FROM weights GROUP BY version"
    )
    slots = assembly.encoding(small).slots
    assert weights.to_pylist() == [{"version": 3, "n": slots, "least": 0.3}]
    process.close()
    publish(folder, small, 4)
    (folder / "models" / "v000004" / "manifest.json").unlink()
    (folder / "models" / "v000003" / "weights.safetensors").unlink()
    caplog.clear()
    again = log.process(small, folder)
    assert again.scorer.version == 1  # the newest that loads: 2 is broken, too
    again.step()
    again.step()
    assert len(caplog.messages) == 1
    again.close()


def test_a_shadow_says_what_it_would_predict_and_is_not_served(
    tmp_path: Path,
    small: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, folder = Log(), tmp_path / "store"
    log.install(monkeypatch)
    for number in (1, 2, 3):
        publish(folder, small, number)
    registry, messages = Registry(folder / "models"), iter(panes(small, 4))
    process = log.process(small, folder)

    def step(shadow: int | None) -> list[tuple[int, int | None]]:
        registry.shadow(shadow)
        process.step()  # it is looked for after what came was scored
        for topic, partition, value in islice(messages, 4):
            log.put(topic, value, partition=partition)
        process.step()
        beside = [(row["version"], row.get("shadow")) for row in in_log(log, small)[0][-2:]]
        return [(version, told and told["version"]) for version, told in beside]

    assert step(None) == [(3, None)] * 2
    assert step(1) == [(3, 1)] * 2
    weights = folder / "models" / "v000002" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with caplog.at_level(logging.WARNING):
        assert step(2) == [(3, None)] * 2
    (warning,) = caplog.messages
    assert "there is no shadow" in warning
    assert "sha256" in warning
    assert step(1) == [(3, 1)] * 2
    kept = process.store.catalogue.read("SELECT * FROM predictions ORDER BY seq")
    process.close()
    rows = kept.to_pylist()
    assert [row["shadow"] for row in rows] == [None, None, 1, 1] * 2
    assert rows[0]["p_shadow"] is None
    assert 0.5 < rows[2]["p_shadow"] < rows[2]["p"] == rows[0]["p"]
    told = [row["shadow"]["p"] for row in in_log(log, small)[0] if "shadow" in row]
    assert told == [row["p_shadow"] for row in rows if row["shadow"]]
    (folder / "store.duckdb").unlink()  # made anew, it has what was said then
    registry.shadow(None)
    again = log.process(small, folder)
    while again.step():
        pass
    assert again.store.catalogue.read("SELECT * FROM predictions ORDER BY seq").equals(kept)
    again.close()


def test_a_version_is_kept_once_though_newer_ones_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher makes a version, and only then points to it."""
    log, small, folder = Log(), pipeline(tmp_path), tmp_path / "store"
    log.install(monkeypatch)
    process = log.process(small, folder)
    publish(folder, small, 1)
    pointer = (folder / "models" / "ALIASES").read_bytes()
    publish(folder, small, 2)
    (folder / "models" / "ALIASES").write_bytes(pointer)
    log.put(small.decisions_topic, decisions(EVERY))
    process.step()
    publish(folder, small, 3)
    log.put(small.decisions_topic, decisions(2 * EVERY))
    process.step()
    told = process.store.catalogue.select("SELECT number FROM models ORDER BY ALL")
    assert told["number"].to_pylist() == [1, 2, 3]
    process.close()


def test_the_champion_is_served_and_not_the_newest(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = Log(), tmp_path / "store"
    log.install(monkeypatch)
    process = log.process(small, folder)
    registry = Registry(folder / "models")

    def served() -> int:
        process.step()
        return process.scorer.version

    for number in (1, 2):
        publish(folder, small, number)
    assert served() == 2
    publish(folder, small, 3, champion=2)  # held back
    assert served() == 2
    registry.pin(3)
    assert served() == 3
    registry.pin(None)
    assert served() == 2
    publish(folder, small, 4, champion=1)  # rolled back
    assert served() == 1
    log.put(small.decisions_topic, decisions(EVERY))
    process.step()
    told = process.store.catalogue.select("SELECT number FROM models ORDER BY ALL")
    assert told["number"].to_pylist() == [1, 2, 3, 4]  # each that was judged
    process.close()
    again = log.process(small, folder)
    assert again.scorer.version == 1
    again.close()


def test_what_was_held_back_is_no_fallback(
    tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = Log(), tmp_path / "store"
    log.install(monkeypatch)
    for number in (1, 2):
        publish(folder, small, number)
    publish(folder, small, 3, champion=2, gate={"verdict": "held"})
    (folder / "models" / "v000002" / "weights.safetensors").unlink()
    process = log.process(small, folder)
    assert process.scorer.version == 1
    process.close()


def test_each_weight_has_its_own_slot() -> None:
    arrays = {
        "wide/ids": np.array([3, 9]),
        "wide/weights": np.array([0.5, -0.5]),
        "deep/rows.ids": np.array([7]),
        "deep/rows.rows": np.array([[1.0, 2.0]], np.float32),
        "deep/rows.gone": np.zeros((0, 2), np.int64),
        "moments": np.zeros((0, 3)),
    }
    rows = weights_of(4, arrays).to_pylist()
    assert {row["version"] for row in rows} == {4}
    assert [(row["name"], row["slot"], row["part"], row["value"]) for row in rows] == [
        ("wide/weights", 3, 0, 0.5),
        ("wide/weights", 9, 0, -0.5),
        ("deep/rows.rows", 7, 0, 1.0),
        ("deep/rows.rows", 7, 1, 2.0),
    ]


def test_decisions_wait_for_a_model_recent_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = pipeline(tmp_path, "  max_delay: 2m\n")
    log = Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    for topic, partition, value in panes(small, 6):
        log.put(topic, value, partition=partition)
    # The first decision is at one minute: without a model those to three minutes go.
    process.step()
    assert [row["at"] for row in in_log(log, small)[0]][-1] == 3 * EVERY
    assert process.step() is False
    assert process.store.waiting == 2 * 6 - 5
    publish(tmp_path / "store", small, 3)  # through three minutes: those to five go
    process.step()
    published = in_log(log, small)[0]
    assert published[-1]["at"] == 5 * EVERY
    assert [row["version"] for row in published] == [0] * 5 + [3] * 4
    assert in_log(log, small)[1][-1]["through"] == 5 * EVERY + 1
    publish(tmp_path / "store", small, 4, champion=3)  # held
    process.step()
    published = in_log(log, small)[0]
    assert (published[-1]["at"], published[-1]["version"]) == (6 * EVERY, 3)
    process.close()


def test_damaged_names_of_versions_hold_no_decision_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = pipeline(tmp_path, "  max_delay: 2m\n")
    log = Log()
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    publish(tmp_path / "store", small, 3)
    process.step()
    (tmp_path / "store" / "models" / "ALIASES").write_bytes(b"{")
    for topic, partition, value in panes(small, 6):
        log.put(topic, value, partition=partition)
    process.step()
    published = in_log(log, small)[0]
    assert (published[-1]["at"], published[-1]["version"]) == (5 * EVERY, 3)
    process.close()


@pytest.mark.kafka
def test_on_the_broker_nothing_is_published_twice(
    broker: Broker, tmp_path: Path, small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topics(broker.address, [*assembly.source_topics(small), *assembly.topics(small)])
    with Writer(broker.address) as writer:
        for topic, partition, value in panes(small, COUNT):
            writer.send(topic, value, partition=partition)
    folder = tmp_path / "store"
    folder.mkdir()

    def start() -> StoreProcess:
        models = folder / "models"
        return StoreProcess(small, bootstrap=broker.address, folder=folder, models=models)

    process = start()
    send, sent = process._writer.send, 0

    def dies(*given: Any, **more: Any) -> None:
        nonlocal sent
        if sent == 5:
            raise Killed
        sent += 1
        send(*given, **more)

    monkeypatch.setattr(process._writer, "send", dies)
    with pytest.raises(Killed):
        _until(process, lambda: process.store.counts["predictions"] == 2 * COUNT)
    for reader in (process._reader, process._raw, process._known):
        reader.close()
    process._writer.flush()  # what was sent before the kill came through
    process._writer.close()
    process.store.catalogue.close()
    again = start()
    _until(again, lambda: again.status()["through"] == (COUNT + 1) * EVERY)
    again.close()
    published, progress = told(_read(broker.address, small.predictions_topic))
    assert [row["seq"] for row in published] == list(range(2 * COUNT))
    assert progress[-1]["through"] == (COUNT + 1) * EVERY
    last = transport.last(broker.address, small.predictions_topic, 0)
    assert last is not None
    assert last.timestamp == (COUNT + 1) * EVERY


def _until(process: StoreProcess, done: Callable[[], bool]) -> None:
    for _ in range(200):
        process.step()
        if done():
            return
    pytest.fail(f"not in 200 steps: {process.status()}")


def _read(bootstrap: str, topic: str) -> list[bytes | None]:
    end = ends(bootstrap, [topic])[topic, 0]
    values: list[bytes | None] = []
    with Reader(bootstrap, {(topic, 0): 0}) as reader:
        while len(values) < end:
            values += [message.value for message in reader.poll(1_000).get((topic, 0), [])]
    return values
