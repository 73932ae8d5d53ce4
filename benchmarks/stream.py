"""From Kafka to updated weights: the learner process as users run it, on a log that is there.

::

    predictions, examples ─► broker ─► learner process ─► versions, snapshots, scores

The learner learns an hour of the log, so that it is warm, and is stopped amid its work; then the
rest is written, it goes on, and what it takes from there to the last label is measured. An example
is one decision read, encoded, predicted, scored beside its rivals and learned, of 20 tokens; its
label comes within half an hour. A version, with its snapshot, is made at each hour of event time,
of 50,000 decisions. The CPU is that of the whole process.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.measure import say, store
from headrace.jobs.machine.local import Local, running
from headrace.jobs.transport import Reader, Writer
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.types import Type
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["run"]

HOURS, WARM_HOURS, DECISIONS_AN_HOUR = 7, 1, 50_000
MODELS = {"ftrl": "kind: ftrl", "hybrid": "kind: hybrid\n  batch: 1024"}
_PIPELINE = Path(__file__).with_name("stream.yaml")
_STARTS = 1_700_000_000_000 // 3_600_000 * 3_600_000
_HOUR, _MINUTE = 3_600_000, 60_000
_TICKS = os.sysconf("SC_CLK_TCK")
_DEADLINE_SECONDS = 300.0


def run(rounds: int) -> list[str]:
    """Measure each model on a log of its own; store and tell the rates."""
    found: dict[str, list[dict[str, float]]] = {}
    for model, settings in MODELS.items():
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            path = Path(name) / "stream.yaml"
            path.write_text(_PIPELINE.read_text().replace("kind: ftrl", settings))
            found[model] = [_round(load(path), Path(name) / str(i)) for i in range(rounds)]
        say(f"   {model}: {found[model]}")
    store("stream", tokens=len(load(_PIPELINE).model.tokens), rounds=found)
    best = {model: max(each, key=lambda one: one["cpu_rate"]) for model, each in found.items()}
    return [
        f"{model}: {each['rate']:,.0f} examples/s from Kafka to weights, "
        f"{each['cpu_rate']:,.0f} a CPU second"
        for model, each in best.items()
    ]


def _round(pipeline: Pipeline, state: Path) -> dict[str, float]:
    with running(pipeline, state, ()) as local, Reader(*_scores(local)) as scores:
        log = _Sent(local)
        log.send(range(WARM_HOURS))
        local.start("learner", local.arguments("learner"))
        first = _learned(local, scores, 1)["learner.examples"]
        local.supervisor.signal("learner", signal.SIGSTOP)
        log.send(range(WARM_HOURS, HOURS))
        log.end()
        before = local.supervisor.status()["learner"].pid
        wall, cpu = time.monotonic(), _cpu(before)
        local.supervisor.signal("learner", signal.SIGCONT)
        told = _learned(local, scores, HOURS * DECISIONS_AN_HOUR)
        wall, cpu = time.monotonic() - wall, _cpu(before) - cpu
    examples = told["learner.examples"] - first
    return {
        "examples": round(examples),
        "rate": round(examples / wall),
        "cpu_rate": round(examples / cpu),
        "auc": told["prequential.auc"],
    }


def _scores(local: Local) -> tuple[str, dict[tuple[str, int], int]]:
    return local.bootstrap, {(local.pipeline.metrics_topic, 0): 0}


def _learned(local: Local, scores: Reader, count: int) -> dict[str, float]:
    """Wait until the learner tells that it has learned so many; give all that it tells then."""
    until = time.monotonic() + _DEADLINE_SECONDS
    while time.monotonic() < until:
        local.supervisor.check()
        for messages in scores.poll(10).values():
            for message in messages:
                rows = {row["name"]: row["value"] for row in orjson.loads(message.value or b"[]")}
                if rows.get("learner.examples", 0) >= count:
                    return rows
    asked = f"asked for the learner to learn {count} examples"
    found = f"it did not in {_DEADLINE_SECONDS:.0f} s"
    raise EnvironmentProblem(asked, found, f"look at {local.state / 'logs' / 'learner.log'}")


def _cpu(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class _Sent:
    """Writes both topics, hour by hour; each minute ends with the word that it is complete."""

    def __init__(self, local: Local) -> None:
        self._bootstrap, self._pipeline = local.bootstrap, local.pipeline
        self._waiting: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._seq = -1

    def send(self, hours: range) -> None:
        """Write some hours' decisions, and the labels that come in these hours."""
        pipeline = self._pipeline
        names = {n: kind for n, kind in pipeline.inputs.items() if n in _columns(pipeline)}
        with Writer(self._bootstrap, linger_ms=50) as writer:
            for hour in hours:
                through = _STARTS + hour * _HOUR
                for decision, landed, label in _hour(hour, names):
                    while decision["at"] >= through + _MINUTE:
                        through += _MINUTE
                        self._complete(writer, through)
                    self._decided(writer, decision, landed, label)
                self._complete(writer, _STARTS + (hour + 1) * _HOUR)

    def end(self) -> None:
        """Write the labels that are left, and two hours in which nothing comes."""
        with Writer(self._bootstrap) as writer:
            self._complete(writer, _STARTS + (HOURS + 2) * _HOUR)

    def _decided(self, writer: Writer, decision: dict[str, Any], landed: int, label: bool) -> None:
        self._seq = decision["seq"]
        writer.send(self._pipeline.predictions_topic, orjson.dumps(decision), partition=0)
        place = {"at": landed, "partition": 0, "offset": self._seq}
        example = {**place, "label": label, "prediction": decision}
        self._waiting[landed // _MINUTE].append(example)

    def _complete(self, writer: Writer, through: int) -> None:
        topics = self._pipeline.predictions_topic, self._pipeline.examples_topic
        writer.send(topics[0], orjson.dumps({"seq": self._seq, "through": through}), partition=0)
        due = sorted(pane for pane in self._waiting if (pane + 1) * _MINUTE <= through)
        panes = [((pane + 1) * _MINUTE, self._waiting.pop(pane)) for pane in due]
        if not panes or panes[-1][0] < through:
            panes.append((through, []))
        for end, examples in panes:
            writer.send(topics[1], orjson.dumps({"end": end, "examples": examples}), partition=0)


def _columns(pipeline: Pipeline) -> set[str]:
    return {part for token in pipeline.model.tokens for part in token.parts}


def _hour(hour: int, names: dict[str, Type]) -> Iterator[tuple[dict[str, Any], int, bool]]:
    """Make an hour's decisions with the time and the value of their labels."""
    dice = np.random.default_rng(hour)
    count = DECISIONS_AN_HOUR
    at = np.sort(dice.integers(0, _HOUR, count)) + _STARTS + hour * _HOUR
    drawn: dict[str, list[Any]] = {}
    for name, kind in names.items():
        if kind is Type.FLOAT64:
            drawn[name] = dice.exponential(3.0, count).round(3).tolist()
        else:
            numbers = (dice.zipf(1.4, count) % 50_000).tolist()
            drawn[name] = [f"v{n}" for n in numbers] if kind is Type.STRING else numbers
    labels = dice.random(count) < 1 / (1 + np.array(drawn["x0"]))
    landed = (at + dice.integers(1_000, _HOUR // 2, count)).tolist()
    rows = zip(at.tolist(), zip(*drawn.values(), strict=True), labels.tolist(), strict=True)
    for i, (decided, values, label) in enumerate(rows):
        seq = hour * count + i
        x = dict(zip(drawn, values, strict=True))
        head = {"seq": seq, "id": f"d{seq}", "at": decided, "p": 0.25, "version": 0}
        yield {**head, "x": x}, landed[i], label
