r"""Tables of cases for stream operators: rows in, rows out, one file for each.

::

    made: {from: a, where: x >= 15}          the streams, of which the last is asked for

    # what is false or null is dropped       a case and its name
    at | k   | x    => p | o | at | x        what comes in, and what is asked of each row
    1  | "a" | 15   => 0 | 0 | 1  | 15
    2  | "a" | null =>

A case may begin with streams of its own. A cell is JSON, as it stands in the message; an empty one
is a column that the message lacks. `in` is the source (a), `p` the partition (0) and `o` the
offset; what comes out is listed in its order. A row that is refused comes out as
``! source | partition | offset | reason``.

Both sources, a and b, have two partitions, a lateness of 5 ms, and the columns of `SOURCES`; b
lacks `f` and has `z` besides.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from headrace.feature_store.history import History
from headrace.feature_store.store import Declared
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Event, Message
from headrace.operators.streams.stream import Stream
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.engines import table_of

CASES = Path(__file__).with_name("cases") / "streams"
SOURCES = """
  a:
    topic: {prefix}a
    partitions: 2
    lateness: 5ms
    columns: {{k: string, h: string, x: int64, y: float64, f: bool}}
  b:
    topic: {prefix}b
    partitions: 2
    lateness: 5ms
    columns: {{k: string, h: string, x: int64, y: float64, z: int64}}
  ask:
    topic: {prefix}ask
    columns: {{ask_id: string required, user: string}}
"""
PIPELINE = """
pipeline: {name}
every: {every}
sources:{sources}
streams:
{streams}
views:
{views}
decision: {{source: {asked}, id: ask_id, keys: {keys}}}
outcome: {{source: ask, id: ask_id, label: ask_id = 'x', within: 1s}}
model: {{kind: ftrl, tokens: [ask_id]}}
"""
VIEW = "  v: {source: a, key: k, features: {n: count()}}"
_STREAM = re.compile(r"\w+: \{.*\}")

Row = tuple[object, ...]
Logs = Mapping[str, Sequence[Message]]


@dataclass(frozen=True)
class Case:
    """Messages, and the rows of a stream that they make."""

    name: str
    streams: tuple[str, ...]
    logs: Logs
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    refused: tuple[Row, ...]


def pipeline_of(
    folder: Path,
    streams: Sequence[str],
    *,
    name: str = "cases",
    every: str = "1s",
    views: Sequence[str] = (VIEW,),
    keys: str = "{v: ask_id}",
    asked: str = "ask",
) -> Pipeline:
    """Load a pipeline that has the sources of the cases and these streams."""
    path = folder / f"{name}.yaml"
    lines = "\n".join(f"  {stream}" for stream in streams)
    sources = SOURCES.format(prefix=f"{name}_")
    written = PIPELINE.format(
        name=name,
        every=every,
        sources=sources,
        streams=lines,
        views="\n".join(views),
        keys=keys,
        asked=asked,
    )
    path.write_text(written, "utf-8")
    for table in CASES.glob("*.csv"):
        (folder / table.name).write_bytes(table.read_bytes())
    return load(path)


def read(path: Path) -> list[Case]:
    """Read a file of cases."""
    cases: list[Case] = []
    common: list[str] = []
    name, streams, lines = "", common, list[str]()
    for line in [*path.read_text("utf-8").splitlines(), "#"]:
        if line.startswith("#"):
            if lines:
                cases.append(_case(name, streams or common, lines))
            name, streams, lines = line[1:].strip(), [], []
        elif _STREAM.fullmatch(line):
            (streams if name else common).append(line)
        elif line.strip():
            lines.append(line)
    names = Counter(case.name for case in cases)
    assert names
    assert max(names.values()) == 1
    return cases


@dataclass
class _Sent:
    log: list[Message] = field(default_factory=list)
    offsets: Counter[int] = field(default_factory=Counter)

    def send(self, partition: int, payload: bytes) -> None:
        self.log.append((partition, self.offsets[partition], 0, payload))
        self.offsets[partition] += 1


def _case(name: str, streams: Sequence[str], lines: Sequence[str]) -> Case:
    pairs = [[_cells(side) for side in f"{line} ".split("=>")] for line in lines]
    ins, outs = pairs[0]
    sent = {"a": _Sent(), "b": _Sent()}
    rows: list[Row] = []
    refused: list[Row] = []
    for left, right in pairs[1:]:
        if left:
            row = dict(zip(ins, left, strict=True))
            source, partition = row.pop("in", "") or "a", int(row.pop("p", "") or 0)
            said = ", ".join(f'"{key}": {cell}' for key, cell in row.items() if cell)
            sent[source].send(partition, f"{{{said}}}".encode())
        if right and right[0].startswith("!"):
            source, partition_said, offset, reason = (right[0][1:].strip(), *right[1:])
            refused.append((source, int(partition_said), int(offset), reason))
        elif right:
            rows.append(tuple(json.loads(cell) for cell in right))
            assert len(rows[-1]) == len(outs)
    logs = {source: tuple(each.log) for source, each in sent.items()}
    return Case(name, tuple(streams), logs, tuple(outs), tuple(rows), tuple(refused))


def _cells(side: str) -> list[str]:
    cells = [cell.strip() for cell in side.split("|")]
    return cells if any(cells) else []


def by_in_process(pipeline: Pipeline, stream: Stream, logs: Logs) -> tuple[list[Event], list[Row]]:
    """Give a stream's rows in their order, and what it refuses, by the oracle."""
    found = {
        name: in_process.events(source, logs.get(name, ())).events
        for name, source in pipeline.sources.items()
    }
    made = in_process.derived(stream, found)
    refused: list[Row] = []
    for dead in made.dead:
        leaf = next(leaf for leaf in stream.leaves if dead.partition % leaf.n == leaf.i)
        place = (leaf.source.name, dead.partition // leaf.n, dead.offset)
        refused.append((*place, dead.reason))
    return sorted(made.events, key=lambda event: event.order), sorted(refused, key=repr)


def by_duckdb(pipeline: Pipeline, stream: Stream, logs: Logs) -> tuple[list[Event], list[Row]]:
    """Give the same by DuckDB's SQL."""
    with history_of(pipeline, logs) as history:
        return from_history(history, stream)


def history_of(pipeline: Pipeline, logs: Logs) -> History:
    """Give a history that has read the logs."""
    ask = pipeline.decision
    declared = Declared(pipeline.every_ms, pipeline.views, ask.source, ask.id, ask.keys)
    with ExitStack() as unless_read:
        history = History(declared, pipeline.sources, pipeline.streams)
        unless_read.enter_context(history)
        for name in pipeline.sources:
            history.load(name, table_of(logs.get(name, ())))
        unless_read.pop_all()
    return history


def from_history(history: History, stream: Stream) -> tuple[list[Event], list[Row]]:
    """Give what a history has of a stream."""
    names = ["partition", "offset", *stream.types]
    columns = ", ".join(f'"{name}"' for name in names)
    query = f'SELECT {columns} FROM "events_{stream.name}" ORDER BY "at", partition, "offset"'
    events = []
    for row in history.query(query).to_pylist():
        place = row.pop("partition"), row.pop("offset")
        events.append(Event(*place, row))
    refused = [tuple(row.values()) for row in history.refused_by(stream.name).to_pylist()]
    return events, sorted(refused, key=repr)


ENGINES = {"in_process": by_in_process, "duckdb": by_duckdb}


def cells(events: Sequence[Event], columns: Sequence[str]) -> list[Row]:
    """Give the columns asked for: `p` and `o` are the place."""
    return [
        tuple({"p": event.partition, "o": event.offset, **event.values}[name] for name in columns)
        for event in events
    ]
