"""Predictions of several numbers on a real broker, from events to what is served and said of it.

Half of the events come before there is a version; the other half are scored by what was learned
of the first. The learner and the labels job are killed between.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from headrace.jobs import models as versions
from headrace.jobs.cli.main import application
from headrace.jobs.evolve.relearn import relearn
from headrace.jobs.lifecycle.sending import through
from headrace.jobs.machine import local
from headrace.jobs.machine.local import Local
from headrace.jobs.machine.waiting import wait_until
from headrace.jobs.transport import Writer
from headrace.pipelines.load import load

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.flink,
    pytest.mark.e2e,
    pytest.mark.usefixtures("java_and_jars"),
]

BEGIN = 1_700_000_040_000  # a whole minute
EVERY_MS, HALF, REST_MS = 1_000, 400, 300_000
NAMES = ("dry", 'a "wet" one', "it's snow\n")
CLASSES = f"""\
pipeline: weather
every: 1s
sources:
  ask: {{columns: {{name: string required, place: string}}}}
  click: {{columns: {{place: string}}}}
  done: {{columns: {{name: string required, sky: string}}}}
views:
  clicks: {{source: click, key: place, features: {{n: count() over 1m}}}}
decision: {{source: ask, id: name}}
outcome: {{source: done, id: name, label: sky, within: 1m}}
model:
  kind: softmax
  classes: {orjson.dumps(NAMES).decode()}
  alpha: 0.5
  slots: 1024
  tokens: [place]
  publish_every: 1m
  score_every: 2m
"""
TASKS = """\
pipeline: shop
every: 1s
sources:
  ask: {columns: {name: string required, place: string}}
  click: {columns: {place: string}}
  seen: {columns: {name: string required, clicked: bool, paid: int64}}
  order: {columns: {name: string required, clicked: bool, paid: int64}}
streams:
  done: {from: [seen, order]}
views:
  clicks: {source: click, key: place, features: {n: count() over 1m}}
decision: {source: ask, id: name}
outcome: {source: done, id: name, label: {click: clicked, buy: paid >= 10}, within: 1m}
model:
  kind: mmoe
  batch: 64
  width: 4
  hidden: [16, 8]
  experts: 2
  rate: 0.2
  dense_rate: 0.01
  device: cpu
  tokens: [place]
  publish_every: 1m
"""

Outcomes = Callable[[int], Iterator[tuple[str, dict[str, Any]]]]
"""Gives the outcomes of a decision, each with its topic."""


def time_of(n: int) -> int:
    """Give the time of a decision; between the halves there is a rest."""
    return BEGIN + n * EVERY_MS + (n // HALF) * REST_MS


def asked(n: int) -> dict[str, Any]:
    """Give a decision: places take turns."""
    return {"at": time_of(n), "name": f"d{n}", "place": f"p{n % 3}"}


def sky(n: int) -> str:
    """Give the class of a decision: each place has its own, and now and then one of none."""
    return "hail" if n % 40 == 7 else NAMES[n % 3]


def weather(n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the outcome of a decision."""
    yield "done", {"at": time_of(n) + 1_500, "name": f"d{n}", "sky": sky(n)}


def clicks(n: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a click or none for two of three, and what was paid, some seconds later, for some."""
    if n % 3 < 2:
        yield "seen", {"at": time_of(n) + 500, "name": f"d{n}", "clicked": n % 3 == 0}
    if n % 3 != 1:
        yield "order", {"at": time_of(n) + 5_500, "name": f"d{n}", "paid": 12 if n % 3 else 7}


def send(running: Local, numbers: range, outcomes: Outcomes) -> None:
    """Send decisions with all that belongs to them, and that this was all."""
    with Writer(running.bootstrap) as writer:
        for n in numbers:
            ask = asked(n)
            writer.send("ask", orjson.dumps(ask), partition=0)
            click = {"at": ask["at"], "place": ask["place"]}
            writer.send("click", orjson.dumps(click), partition=0)
            for topic, outcome in outcomes(n):
                writer.send(topic, orjson.dumps(outcome), partition=0)
        writer.flush()
    until = time_of(numbers[-1]) + 120_000
    through(running.bootstrap, running.pipeline, until)

    def complete() -> bool:
        running.supervisor.check()
        if not running.client.healthy():
            return False
        told = running.client.status()
        # A version is made each minute; which one is served, the gate says.
        learned = told["metrics_at"] > until - 60_000 - EVERY_MS and told["model_version"] > 0
        return learned and int(told["predictions"]) == numbers.stop

    wait_until(complete, 100, "all to be learned and served", every_seconds=0.2)


def killed(running: Local, names: Sequence[str]) -> None:
    """Kill processes, and wait for others in their place."""
    before = {name: running.supervisor.status()[name].restarts for name in names}
    for name in names:
        running.supervisor.signal(name, signal.SIGKILL)

    def back() -> bool:
        running.supervisor.check()
        found = running.supervisor.status()
        return all(found[name].restarts > count for name, count in before.items())

    wait_until(back, 60, f"{names} to be started again", every_seconds=0.05)


def made_again(running: Local, number: int) -> bool:
    """Say whether a version is made again bit for bit."""
    return relearn(
        running.pipeline,
        bootstrap=running.bootstrap,
        versions=versions.registry(running.state),
        number=number,
    ).same


def said(state: Path, *words: str) -> str:
    """Run a command of ours."""
    done = CliRunner().invoke(application, [*words, "--state", str(state)])
    assert done.exit_code == 0, done.output
    return done.output


def test_classes_on_a_real_broker(tmp_path: Path) -> None:
    path, state = tmp_path / "weather.yaml", tmp_path / "state"
    path.write_text(CLASSES, "utf-8")
    with local.running(load(path), state) as running:
        send(running, range(HALF), weather)
        killed(running, ["learner", "labels"])
        send(running, range(HALF, 2 * HALF), weather)
        ask = running.client.sql
        labels = Counter(ask("SELECT label FROM examples")["label"].to_pylist())
        assert labels == Counter(sky(n) for n in range(2 * HALF))
        late = ask(
            "SELECT p, label FROM predictions JOIN examples USING (seq) "
            f"WHERE version > 0 AND label <> 'hail' AND seq >= {HALF}"
        ).to_pylist()
        assert len(late) == HALF - labels["hail"] // 2
        right = [max(row["p"]) == row["p"][NAMES.index(row["label"])] for row in late]
        assert sum(right) == len(right)
        told = running.client.predict([{"at": time_of(3 * HALF), "name": "new", "place": "p1"}])
        assert told["of"] == list(NAMES)
        assert max(told["predictions"][0]) == told["predictions"][0][1] > 0.5
        why = running.client.why("d1")
        assert (why["label"], why["of"]) == (NAMES[1], list(NAMES))
        metrics = running.client.status()["metrics"]
        assert metrics["prequential_all.accuracy"] > 0.9
        assert metrics["base_rate.accuracy"] < 0.5
        assert metrics["learner.unfit_labels"] == labels["hail"]
        windows = "SELECT MIN(value) AS least FROM metrics WHERE name = 'window.served.log_loss'"
        assert 0 < ask(windows)["least"][0].as_py() < 0.5
        listed = orjson.loads(said(state, "models", "list", "--json"))
        assert {each["verdict"] for each in listed} >= {"promoted"}
        assert listed[0]["scores"]["accuracy"] > 0.9
        assert "accuracy" in said(state, "models", "list")
        assert '"wet"' in said(state, "why", "d1")
        assert made_again(running, listed[0]["version"])


def test_tasks_on_a_real_broker(tmp_path: Path) -> None:
    """A click says nothing of the order, which comes later, from another topic, or never."""
    path, state = tmp_path / "shop.yaml", tmp_path / "state"
    path.write_text(TASKS, "utf-8")
    with local.running(load(path), state) as running:
        send(running, range(HALF), clicks)
        killed(running, ["learner", "labels"])
        send(running, range(HALF, 2 * HALF), clicks)
        ask = running.client.sql
        query = "SELECT task, label, COUNT(*) AS n FROM examples GROUP BY ALL"
        labels = {(row["task"], row["label"]): row["n"] for row in ask(query).to_pylist()}
        of = Counter(n % 3 for n in range(2 * HALF))
        assert labels == {
            ("click", True): of[0],
            ("click", False): of[1],
            ("buy", False): of[0],
            ("buy", True): of[2],
        }
        metrics = running.client.status()["metrics"]
        assert metrics["learner.examples"] == sum(labels.values())
        assert metrics["prequential_all.click.auc"] > 0.8
        assert metrics["prequential_all.buy.auc"] > 0.8
        assert metrics["base_rate.click.log_loss"] > metrics["prequential.click.log_loss"]
        rows = [{"at": time_of(3 * HALF), "name": "new", "place": f"p{i}"} for i in range(3)]
        told = running.client.predict(rows)
        assert told["of"] == ["click", "buy"]
        p = told["predictions"]
        assert p[0][0] > 0.5 > p[1][0]
        assert p[2][1] > 0.5 > p[0][1]
        assert running.client.why("d0")["label"] == {"click": True, "buy": False}
        assert running.client.why("d2")["label"] == {"click": None, "buy": True}
        assert "click AUC" in said(state, "models", "list")
        assert made_again(running, versions.listed(versions.registry(state))[0].version)
