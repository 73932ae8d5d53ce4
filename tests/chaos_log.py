"""The log that the store process is given while it is killed and damaged, and its right answer.

Panes of both views, decisions, labels, metrics, late rows, dead letters and raw events; a fifth of
the panes are sent again. All that the store makes of it is a function of it, so there is one right
answer: the digests of an undisturbed run.
"""

from __future__ import annotations

import random
import string
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from headrace.feature_store.export import digests
from headrace.jobs import assembly, raw_events, transport
from headrace.jobs.store import StoreProcess
from headrace.online_learning.registry import Registry
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store import made_up
from tests.feature_store.made_up import EVERY

__all__ = [
    "Sent",
    "drain",
    "messages",
    "named",
    "publish",
    "state_of",
    "topic_of",
]

raw_events._REST_SECONDS = 0  # so that raw events are killed as often as others

Digests = dict[str, str]
"""Of each table the sha256 of its sorted Parquet file."""


@dataclass(frozen=True)
class Sent:
    """A message as it is written: the topic, without the pipeline's name before it."""

    topic: str
    partition: int
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


def topic_of(pipeline: Pipeline, sent: Sent) -> str:
    """Give a message's topic in the log of a pipeline."""
    kind, _, name = sent.topic.partition(".")
    if kind == "raw":
        return pipeline.sources[name].topic
    return pipeline.view_topic(pipeline.views[name]) if name else f"{pipeline.name}.{kind}"


def named(folder: Path, name: str) -> Pipeline:
    """Load the made-up pipeline under another name: other topics, the same tables.

    The raw topics are those of all whose names end with the same number.
    """
    path = folder / f"{name}.yaml"
    text = made_up.TEXT.replace("pipeline: small", f"pipeline: {name}")
    for source in ("ask", "click"):
        topic = f"chaos{name.lstrip(string.ascii_letters)}.{source}"
        text = text.replace(f"{source}: {{", f"{source}: {{topic: {topic}, ")
    path.write_text(text)
    return load(path)


def messages(steps: int, seed: int) -> Iterator[Sent]:
    """Write `steps` panes of everything."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    asked = 0
    for step in range(1, steps + 1):
        end = step * EVERY
        users = {f"u{dice.randrange(9)}": dice.randrange(-9, 9) for _ in range(4)}
        rows = sorted((end + dice.randrange(EVERY), i % 2, asked + i) for i in range(3))
        named_rows = [(*row, f"d{asked + i}") for i, row in enumerate(rows)]
        labels = [(asked + i, f"d{asked + i}", dice.random() < 0.5) for i in range(3)]
        panes = [
            Sent("view.clicks", 0, made_up.clicks(end, **users)),
            *(
                Sent("view.pages", shard, made_up.pages(end, **{f"p{shard}": step}))
                for shard in (0, 1)
            ),
            Sent("decisions", 0, made_up.decisions(end + EVERY, *named_rows, user="u1")),
            Sent("examples", 0, made_up.examples(end + 2 * EVERY, *labels)),
        ]
        yield from panes
        if dice.random() < 0.2:
            yield from panes
        asked += 3
        yield from _others(step)


def _others(step: int) -> Iterator[Sent]:
    at = step * EVERY
    for x in range(step % 4):
        event = {"at": at - 10 * x, "name": f"n{step}", "user": "u", "x": x}
        yield Sent("raw.click", 0, orjson.dumps(event))
    if step % 3 == 0:
        yield Sent("raw.click", 0, b'{"at": %d, "name": "n", "x": 1.0}' % at)  # dead
        yield Sent("raw.ask", 0, b'{"name": "a\\u00e9", "at": %d, "wind": 2e0}' % at)  # odd
    yield Sent("metrics", 0, orjson.dumps([{"at": at, "name": "loss", "value": 1 / step}]))
    place = [("source", b"click"), ("topic", b"click"), ("partition", b"0")]
    place.append(("offset", str(step).encode()))
    if step % 3 == 0:
        yield Sent("dead", 0, b"\xff{", [*place, ("reason", b"no JSON")])
    if step % 5 == 0:
        late = [*place, ("at", b"7"), ("watermark", str(at).encode())]
        yield Sent("late", 0, b'{"at": 7}', late)


def publish(models: Path, pipeline: Pipeline, number: int) -> None:
    """Publish a version whose weights are all alike."""
    encoding = assembly.encoding(pipeline)
    ids = np.arange(encoding.slots)
    registry = Registry(models)
    registry.publish(
        number,
        {"ids": ids, "weights": np.full(len(ids), number / 10)},
        encoding=encoding.digest,
        model=pipeline.model.kind.facts,
        through_ms=number * EVERY,
        offsets={},
        metrics={"n": number},
    )
    registry.judged(number, champion=number)


def drain(process: StoreProcess, idle: int = 2) -> None:
    """Step until all is read and there is nothing to do, `idle` times in a row."""
    ends = transport.ends(process._bootstrap, {topic for topic, _ in process.read})
    rested = 0
    while rested < idle or any(at < ends.get(place, 0) for place, at in process.read.items()):
        rested = 0 if process.step() else rested + 1


def state_of(process: StoreProcess) -> Digests:
    """Give the digest of each table that is made of the log; the pipeline's name is left out."""
    with tempfile.TemporaryDirectory(prefix="headrace-chaos-") as folder:
        found = digests(process.store.catalogue, Path(folder))
    made = {
        each.table: f"{each.rows} rows, {each.sha256}" for each in found if each.table != "models"
    }
    events = (name for name in made if name.startswith(("tiles.", "rows.")))
    for table in ("predictions", *events):
        assert not made[table].startswith("0 rows"), table  # a run that proves nothing
    name = process.pipeline.name
    offsets = sorted((topic.removeprefix(name), p, n) for (topic, p), n in process.read.items())
    return {**made, "offsets": str(offsets)}
