"""The learner on the flights: from JSON messages to weights, and its kernel alone.

::

    messages ─► parse JSON ─► encode ─► order, predict, score, learn ─► publish, save
    rows of Arrow ───────────► encode
    slots ────────────────────────────► the kernel
    slots ────────────────────────────► FTRL in plain Python, row by row, dictionaries

A row is a decision predicted or a label learned, with 31 tokens. The probabilities of the plain
loop and of the kernel are compared first; they are equal to the bit.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.history import connect, log, ours
from benchmarks.measure import Ratio, each, equal, say, store
from headrace.jobs import assembly
from headrace.jobs.demo.demonstration import PIPELINE
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learner import Learner
from headrace.online_learning.learning import Learning
from headrace.online_learning.messages import Parser
from headrace.online_learning.models.ftrl import advance, blank
from headrace.online_learning.models.linear import Linear
from headrace.online_learning.models.model import PREDICT
from headrace.online_learning.settings import Ftrl
from headrace.operators.computed import columns_of, with_computed
from headrace.pipelines.load import load

__all__ = ["run"]

DAYS = 60
POLL = 20_000
PLAIN_ROWS = 4_000


class Messages:
    """What the learner reads, made from the flights by history."""

    def __init__(self, settings: Learning) -> None:
        pipeline = load(PIPELINE)
        tables = log(DAYS, pipeline)
        connection = connect(tables)
        for works in ours(pipeline, connection, tables).values():
            for work in works:
                work()
        joins = " ".join(f"JOIN features_{name} USING (seq)" for name in pipeline.views)
        names, computed = list(settings.encoding.inputs), pipeline.decision.computed
        below = [name for tree in computed.values() for name in columns_of(tree)]
        read = [name for name in dict.fromkeys([*names, *below]) if name not in computed]
        table = connection.sql(
            f'SELECT seq, d.flight_id AS id, d."at", {", ".join(read)}, landed, label, '
            f'a.partition AS "partition", a."offset" AS "offset" FROM decisions d {joins} '
            'LEFT JOIN (SELECT flight_id, "at" AS landed, partition, "offset", '
            "arr_delay >= 15 AS label FROM events_arrival) a ON a.flight_id = d.flight_id "
            "ORDER BY seq"
        ).to_arrow_table()
        table = with_computed(table, computed)
        self.rows = table.select(names).combine_chunks()
        decided = [
            {
                "seq": row["seq"],
                "id": row["id"],
                "at": row["at"],
                "p": 0.25,
                "version": 0,
                "x": {name: row[name] for name in names},
            }
            for row in table.to_pylist()
        ]
        panes: dict[int, list[dict[str, object]]] = defaultdict(list)
        landed = table.select(["landed", "partition", "offset", "label"]).to_pylist()
        for prediction, row in zip(decided, landed, strict=True):
            at = row.pop("landed")
            if at is not None:
                panes[at // settings.every_ms].append({"at": at, **row, "prediction": prediction})
        end = (max(panes) + 1) * settings.every_ms
        self.predictions = [orjson.dumps(one) for one in decided]
        self.predictions.append(orjson.dumps({"seq": len(decided) - 1, "through": end}))
        self.examples = [
            orjson.dumps({"end": (pane + 1) * settings.every_ms, "examples": panes[pane]})
            for pane in sorted(panes)
        ]
        self.labels = np.array([row["label"] for row in landed if row["label"] is not None], float)
        self.count = len(decided) + sum(map(len, panes.values()))


def _learn(settings: Learning, messages: Messages) -> dict[str, float]:
    """Take all messages through a learner of its own, a poll at a time."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        learner = Learner(settings, Path(folder))
        takes = (
            (learner.predictions, messages.predictions),
            (learner.examples, messages.examples),
        )
        for take, topic in takes:
            for start in range(0, len(topic), POLL):
                batch = topic[start : start + POLL]
                take(batch, start + len(batch))
                learner.advance()
        score: dict[str, float] = learner.status()["prequential_all"]
        learner.close()
    return score


def _plain(slots: NDArray[np.int32], labels: NDArray[np.float64], ftrl: Ftrl) -> list[float]:
    """Learn row by row as the kernel says it, with a dictionary of z and one of r."""
    z: dict[int, float] = defaultdict(float)
    r: dict[int, float] = defaultdict(float)
    a, probabilities = 1 / ftrl.alpha, []
    for row, label in zip(slots.tolist(), labels.tolist(), strict=True):
        used, total = [], 0.0
        for slot in row:
            weight = 0.0
            if abs(z[slot]) > ftrl.l1:
                rate = (ftrl.beta + r[slot]) * a + ftrl.l2
                weight = -(z[slot] - math.copysign(ftrl.l1, z[slot])) / rate
            used.append(weight)
            total += weight
        p = 1.0 / (1.0 + math.exp(-max(min(total, 35.0), -35.0)))
        probabilities.append(p)
        if math.isnan(label):
            continue
        gradient = p - label
        for slot, weight in zip(row, used, strict=True):
            after = math.sqrt(r[slot] * r[slot] + gradient * gradient)
            z[slot] += gradient - (after - r[slot]) * a * weight
            r[slot] = after
    return probabilities


def run(rounds: int) -> list[str]:
    """Measure the whole learner, its parts, and the plain loop; give one line."""
    settings = assembly.learning(load(PIPELINE))
    ftrl = settings.model.ftrl if isinstance(settings.model, Linear) else Ftrl()
    messages = Messages(settings)
    encoder = Encoder(settings.encoding)
    slots = encoder.encode(messages.rows)
    # As the learner does it: every row is predicted once and learned once.
    steps = np.repeat(np.arange(len(slots)), 2)
    labels = np.full(2 * len(slots), PREDICT)
    labels[1::2] = np.arange(len(slots)) % 4 == 0
    head = slots[steps[:PLAIN_ROWS]]
    plain = _plain(head, labels[:PLAIN_ROWS], ftrl)
    kernel = advance(blank(settings.encoding.slots), slots, steps, labels, ftrl)[0]
    equal(f"{PLAIN_ROWS} rows", plain == kernel[:PLAIN_ROWS].tolist())
    score = _learn(settings, messages)
    say(f"   {messages.count} rows, auc {score['auc']:.4f}, log loss {score['log_loss']:.4f}")

    def parse() -> None:
        parser = Parser(settings.encoding.inputs, encoder)
        for start in range(0, len(messages.predictions), POLL):
            parser.predictions(messages.predictions[start : start + POLL])

    def bare() -> None:
        advance(zn, slots, steps, labels, ftrl)

    # A version and a snapshot every six hours of event time; here none before the end.
    unsaved = replace(settings, publish_every_ms=365 * 86_400_000)
    zn = blank(settings.encoding.slots)
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "messages": (messages.count, lambda: _learn(settings, messages)),
        "messages_no_versions": (messages.count, lambda: _learn(unsaved, messages)),
        "parse_and_encode": (len(messages.predictions), parse),
        "encode": (len(slots), lambda: encoder.encode(messages.rows)),
        "kernel": (len(steps), bare),
        "plain_python": (PLAIN_ROWS, lambda: _plain(head, labels[:PLAIN_ROWS], ftrl)),
    }
    found = each(works, rounds)
    rates = {name: round(1 / min(took)) for name, took in found.items()}
    ratios = {name: Ratio.of(took, found["kernel"]) for name, took in found.items()}
    for name, rate in rates.items():
        say(f"   {name}: {rate} rows/s, a row takes {ratios[name]} times the kernel's")
    store(
        "learner",
        rounds=rounds,
        rows=messages.count,
        tokens=settings.encoding.width,
        rows_per_second_at_best=rates,
        ratios_to_kernel=ratios,
        seconds_a_row=found,
        auc=score["auc"],
        log_loss=score["log_loss"],
    )
    return [
        f"{rates['messages']} rows/s from JSON to weights ({settings.encoding.width} tokens), "
        f"{rates['messages_no_versions']} without versions and snapshots; "
        f"the kernel {rates['kernel']} rows/s, plain Python {ratios['plain_python']} times as long"
    ]
