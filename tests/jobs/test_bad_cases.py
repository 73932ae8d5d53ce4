"""Bad cases: the rows of a plain loop, in the table and in the topic once, whatever happens."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.jobs import store
from headrace.jobs.evolve.rebuild import rebuild
from headrace.jobs.store import StoreProcess
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import EVERY, clicks, decisions, examples, pages
from tests.feature_store.made_up import pipeline as made
from tests.jobs.in_memory import Killed, Log

STEPS = 60
MORE = "  bad_cases: {loss_above: 1.0, confidence_below: 0.1, most_per_day: 6}\n"
DAY = 86_400_000
SLOW = 24  # so many steps are a day


def probability(seq: int) -> float:
    """Give what is predicted of a decision: any tenth."""
    return (seq * 7 % 10) / 10 + 0.05


def labelled(seq: int) -> bool:
    return seq * 11 % 3 == 0


def end(step: int) -> int:
    return step * (DAY // SLOW)


def filled(small: Pipeline) -> Log:
    """Make a log of a decision and its outcome, or two, for each step."""
    log = Log()
    for step in range(1, STEPS + 1):
        log.put(small.view_topic(small.views["clicks"]), clicks(end(step), u=step))
        view = small.view_topic(small.views["pages"])
        log.put(view, pages(end(step), a=step))
        log.put(view, pages(end(step)), partition=1)
        at = [end(step) - EVERY, end(step) - EVERY + 1]
        rows = [(each, 0, 2 * step + i, f"d{2 * step + i}") for i, each in enumerate(at)]
        log.put(small.decisions_topic, decisions(end(step), *rows))
    for step in range(1, STEPS + 1):
        seqs = [2 * step - 2, 2 * step - 1, 2 * step - 2]  # the third came twice
        told = [(seq, f"d{seq + 2}", labelled(seq)) for seq in seqs]
        log.put(small.examples_topic, with_p(examples(end(step) + EVERY, *told)))
    return log


def with_p(pane: bytes) -> bytes:
    read = orjson.loads(pane)
    for item in read["examples"]:
        item["prediction"] |= {"p": probability(item["prediction"]["seq"]), "version": 0, "at": 1}
    return orjson.dumps(read)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Give a pipeline whose every prediction is known."""

    def keep(self: StoreProcess, rows: pa.Table) -> pa.Table:
        p = np.array([probability(seq) for seq in rows["seq"].to_pylist()])
        rows = rows.append_column("p", pa.array(p))
        return rows.append_column("version", pa.array([self.scorer.version] * len(p), pa.int64()))

    monkeypatch.setattr(StoreProcess, "_score", keep)
    monkeypatch.setattr(store, "_POLL_MESSAGES", 7)
    return made(tmp_path, MORE)


def live(small: Pipeline, log: Log, folder: Path) -> None:
    """Run a process until there is nothing to do, or it is killed."""
    process = log.process(small, folder)
    try:
        for _ in range(3):
            while process.step():
                pass
    finally:
        process.store.catalogue.close()


def topic(small: Pipeline, log: Log) -> list[dict[str, Any]]:
    return [orjson.loads(m.value or b"") for m in log.messages[small.bad_cases_topic, 0]]


def table(process: StoreProcess) -> list[dict[str, Any]]:
    ask = "SELECT * FROM bad_cases ORDER BY cause, number"
    rows: list[dict[str, Any]] = process.store.catalogue.read(ask).to_pylist()
    return rows


def expected() -> list[tuple[str, int]]:
    """Give (cause, seq) by a plain loop over both topics."""
    found: list[tuple[str, int]] = []
    days: Counter[tuple[str, int]] = Counter()
    for seq in range(2 * STEPS):
        day = (end(seq // 2 + 1) - EVERY) // DAY
        if abs(probability(seq) - 0.5) < 0.1 and days["confidence", day] < 6:
            days["confidence", day] += 1
            found.append(("confidence", seq))
    for seq in range(2 * STEPS):
        day = (end(seq // 2 + 1) + EVERY - 1) // DAY
        p = probability(seq)
        if -math.log(p if labelled(seq) else 1 - p) > 1.0 and days["loss", day] < 6:
            days["loss", day] += 1
            found.append(("loss", seq))
    assert max(days.values()) == 6
    assert min(Counter(cause for cause, _ in found).values()) > 8
    return found


def test_the_cases_are_those_of_a_plain_loop(
    small: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = filled(small)
    log.install(monkeypatch)
    process = log.process(small, tmp_path / "store")
    while process.step():
        pass
    rows = table(process)
    process.close()
    assert [(row["cause"], row["seq"]) for row in rows] == expected()
    told = topic(small, log)
    assert sorted((m["cause"], m["number"]) for m in told) == [
        (row["cause"], row["number"]) for row in rows
    ]
    seqs = [m["seq"] for m in told]
    assert len(seqs) == len(set(seqs))
    one = next(m for m in told if m["cause"] == "loss")
    assert one["x"].keys() == small.inputs.keys()
    assert one["x"]["n"] is not None
    assert one["loss"] == pytest.approx(-math.log(one["p"] if one["label"] else 1 - one["p"]))
    assert next(m for m in told if m["cause"] == "confidence")["label"] is None


def test_neither_kills_nor_a_lost_file_change_a_case(
    small: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, torn = filled(small), filled(small)
    calm.install(monkeypatch)
    live(small, calm, tmp_path / "calm")
    truth = topic(small, calm)
    torn.install(monkeypatch)
    for left in (0, 1, 3, 2, 5, 8, 4, 13, 1):
        torn.left = left
        with pytest.raises(Killed):
            live(small, torn, tmp_path / "torn")
    torn.left = None
    live(small, torn, tmp_path / "torn")
    order = [(m["cause"], m["number"], m["seq"]) for m in truth]
    assert sorted((m["cause"], m["number"], m["seq"]) for m in topic(small, torn)) == sorted(order)
    (tmp_path / "torn" / "store.duckdb").unlink()
    process = torn.process(small, tmp_path / "torn")
    while process.step():
        pass
    assert [(row["cause"], row["seq"]) for row in table(process)] == expected()
    process.close()
    assert len(topic(small, torn)) == len(truth)
    folder = tmp_path / "torn"
    made_again = rebuild(small, bootstrap="memory", folder=folder, models=folder / "models")
    assert [each.table for each in made_again if not each.same] == []


def test_without_the_declaration_there_are_none(
    small: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = replace(small, model=replace(small.model, bad_cases=None))
    log = filled(none)
    log.install(monkeypatch)
    process = log.process(none, tmp_path / "store")
    while process.step():
        pass
    assert table(process) == []
    process.close()
    assert topic(none, log) == []
