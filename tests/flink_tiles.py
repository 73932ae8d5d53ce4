"""The panes that a real Flink makes of cases, all of them in one job, told apart by key.

::

    cases ─► in process: events ─► files ─► Flink: <source> ─► tiles, panes ─► files ─► tiles

The views' own text is run as the views job runs it; only what reads and writes is a file instead of
a topic. Each case has its rows under a key of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.feature_store.panes import Panes, read_tiles
from headrace.operators.engines import in_process
from headrace.operators.engines.flink import Kafka, progress_sql, view_sql
from headrace.operators.event import Event
from headrace.operators.functions import Value
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import View
from tests import flink_process
from tests.engines import source_of
from tests.tables import Case

_FILES = 4
"""A case's rows are dealt to so many files, which Flink's readers share."""


@dataclass(frozen=True)
class Files(Kafka):
    """Topics that are folders."""

    folder: Path = Path()

    def writing(self, topic: str, key: str | None = None) -> str:
        """Print the WITH clause of a table that writes lines of JSON."""
        del key
        return f"WITH {_json(self.folder / topic)}"


def _json(folder: Path) -> str:
    return f"('connector' = 'filesystem', 'path' = '{folder.as_uri()}', 'format' = 'json')"


@dataclass(frozen=True)
class Cased:
    """A view with cases of its own: their number is the first part of its key."""

    view: View
    events: tuple[Event, ...]


_SQUARES, _SUMS = {"var", "std"}, {"sum", "mean", "ratio", "decayed_sum", "decayed_mean"}


def cased(cases: Sequence[Case]) -> list[Cased]:
    """Put together the cases that can share a view: few and wide ones are planned sooner.

    They have the same columns and step; and sums of what is not to be summed would be refused.
    The lateness is over: the rows are events.
    """
    found: dict[object, list[tuple[Case, int]]] = {}
    for number, case in enumerate(cases):
        name = case.view.features[0].aggregate.name
        kind = next((i for i, names in enumerate((_SQUARES, _SUMS)) if name in names), 2)
        types = {n: t.value for n, t in case.view.source.types.items()}
        alike = (kind, tuple(types.items()), case.view.every_ms)
        found.setdefault(alike, []).append((case, number))
    return [_together(f"s{place}", each) for place, each in enumerate(found.values())]


def _together(name: str, cases: Sequence[tuple[Case, int]]) -> Cased:
    first = cases[0][0].view
    sources = [source_of(case.view) for case, _ in cases]
    hidden = {name: each for source in sources for name, each in source.hidden.items()}
    columns = (Column("c", Type.INT64), *sources[0].columns)
    source = replace(sources[0], name=name, columns=columns, hidden=hidden)
    events = [
        Event(event.partition, event.offset, {**event.values, **_computed(source, event), "c": n})
        for case, n in cases
        for event in in_process.events(source_of(case.view), case.log).events
    ]
    features = [case.view.features[0] for case, _ in cases]
    view = replace(
        first,
        name=f"v_{name}",
        source=source,
        key=("c", *first.key),
        features=tuple(replace(f, name=f"y{i}") for i, f in enumerate(features)),
    )
    return Cased(view, tuple(events))


def _computed(source: Source, event: Event) -> dict[str, Value]:
    """Compute what features of other cases do; what does not fit here is not asked of these."""
    found: dict[str, Value] = {}
    for name, tree in source.computed.items():
        with contextlib.suppress(OverflowError):
            found[name] = tree.of(event.values)
        found.setdefault(name, None)
    return found


def tiles_by_flink(
    cased: Sequence[Cased], folder: Path, *, parallelism: int
) -> dict[str, Panes | None]:
    """Run every view in one job; give the tiles of each, by its name."""
    files = Files("", "", folder=folder / "panes")
    statements, inserts = [], []
    for each in cased:
        made, insert = view_sql(each.view, files, topic=each.view.name, shard_keys=["0"])
        statements += _source(each, folder / "events")
        statements.append(progress_sql(source_of(each.view), each.view.every_ms, [each.view]))
        statements += made
        inserts.append(insert)
    settings = {
        "parallelism.default": str(parallelism),
        "taskmanager.memory.network.min": "256m",
        "taskmanager.memory.network.max": "256m",
    }
    flink_process.run(statements, inserts, folder, settings)
    return {each.view.name: _read(each.view, folder / "panes") for each in cased}


def _source(cased: Cased, folder: Path) -> list[str]:
    """Write the events and print the relation that the views read."""
    source = source_of(cased.view)
    types: Mapping[str, Type] = {
        **source.types,
        **{name: tree.type for name, tree in source.computed.items()},
    }
    own = folder / source.name
    own.mkdir(parents=True)
    for part in range(_FILES):
        rows = (
            {"partition": e.partition, "offset": e.offset, **{n: e.values[n] for n in types}}
            for e in cased.events[part::_FILES]
        )
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (own / f"{part}.json").write_text(text, "utf-8")
    columns = ", ".join(f"`{name}` {kind.flink}" for name, kind in types.items())
    return [
        f"CREATE TEMPORARY TABLE `{source.name}` (`partition` INT, `offset` BIGINT, {columns}, "
        "rowtime AS TO_TIMESTAMP_LTZ(`at`, 3), "
        "WATERMARK FOR rowtime AS rowtime - INTERVAL '1' DAY) "
        f"WITH {_json(own)}"
    ]


def _read(view: View, folder: Path) -> Panes | None:
    """Read the panes back, in the order of their ends."""
    lines = [
        line
        for path in sorted((folder / view.name).iterdir())
        for line in path.read_text("utf-8").split("\n")
        if line
    ]
    messages = sorted((json.loads(line)["message"] for line in lines), key=_end)
    return read_tiles(view, [message.encode() for message in messages], -1)


def _end(message: str) -> int:
    return int(json.loads(message)["end"])
