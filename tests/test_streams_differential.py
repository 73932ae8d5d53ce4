"""Streams over random logs of two sources, hard to read: in process = DuckDB, row for row."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.feature_store.history import History
from headrace.operators.aggregates.count import Count
from headrace.operators.aggregates.extreme import Max
from headrace.operators.aggregates.latest import Latest
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message
from headrace.operators.expression import parse
from headrace.operators.streams.cast import Cast
from headrace.operators.streams.catalogue import OPERATORS
from headrace.operators.streams.dedup import Dedup
from headrace.operators.streams.derive import Derive
from headrace.operators.streams.join import Join, Table
from headrace.operators.streams.sample import Sample
from headrace.operators.streams.select import Select
from headrace.operators.streams.session import Session
from headrace.operators.streams.split import Part, Split
from headrace.operators.streams.stream import Stream
from headrace.operators.streams.where import Where
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from tests.engines import declared, table_of, tile_rows, tiles_of
from tests.logs import SOURCE
from tests.streams import cells, from_history
from tests.test_differential import FEW, random_logs

OTHER = replace(SOURCE, name="others", topic="others", lateness_ms=0)
TYPES = SOURCE.types
PLACES = Table(
    "places",
    {"lat": Type.FLOAT64, "far": Type.BOOL, "title": Type.STRING, "rank": Type.INT64},
    {
        ("a", 1): (0.1, True, "é'|", -(2**63)),
        ("b", 7): (5e-324, None, None, 7),
        ("", 0): (None, False, "", None),
        ("a|b", 2**63 - 1): (1e300, True, "😀", 0),
    },
)
_BOTH = Stream("both", (SOURCE, OTHER))
_SPLIT = Split(
    {"some": parse("i + w > 0", TYPES), "true": parse("b", TYPES), "rest": None},
)
_PARTED = Stream("parted", (_BOTH,), (_SPLIT,))
STREAMS = {
    stream.name: stream
    for stream in (
        _BOTH,
        Stream(
            "rows",
            (SOURCE,),
            (
                Where(parse("i >= 0 OR k = 'a' OR w * i > 5", TYPES)),
                Derive({"more": parse("w + i", TYPES), "half": parse("z / x", TYPES)}),
                Select(("k", "more", "half", "said")),
            ),
        ),
        Stream("once", (_BOTH,), (Dedup(("k", "h"), 1_500),)),
        Stream("seldom", (OTHER,), (Dedup(("name",), 3_000), Session(("k", "b"), 700))),
        Stream("share", (_BOTH,), (Sample(("k", "g", "b"), 0.4),)),
        Stream("located", (_BOTH,), (Join(PLACES, ("k", "g")),)),
        _PARTED,
        *(Stream(name, (_PARTED,), (Part(_SPLIT, name),)) for name in _SPLIT.conditions),
        Stream("wide", (SOURCE,), (Cast({"i": parse("i / 1", TYPES)}),)),
    )
}
STREAMS["again"] = Stream(
    "again", (STREAMS["once"], STREAMS["some"], SOURCE), (Session(("k",), 2_000),)
)
FEATURES = (Feature("n", Count()), Feature("s", Max("g")), Feature("l", Latest("h", Type.STRING)))
VIEW = View("by_session", STREAMS["again"], ("k", "session_start"), 1_000, FEATURES)


def test_every_operator_is_in_a_stream() -> None:
    used = {step.name for stream in STREAMS.values() for step in stream.steps} | {"union"}
    assert set(OPERATORS) - used == {"as_of", "interval_join"}


@FEW
@given(random_logs, random_logs)
def test_streams_are_the_same(log: list[Message], other: list[Message]) -> None:
    sources = {SOURCE.name: SOURCE, OTHER.name: OTHER}
    logs = {SOURCE.name: log, OTHER.name: other}
    found = {name: in_process.events(sources[name], logs[name]).events for name in sources}
    with History(declared({"by_session": VIEW}, SOURCE), sources, STREAMS) as history:
        for name in sources:
            history.load(name, table_of(logs[name]))
        for stream in STREAMS.values():
            truth = in_process.derived(stream, found)
            columns = ("p", "o", *stream.types)
            events, refused = from_history(history, stream)
            ordered = sorted(truth.events, key=lambda event: event.order)
            assert repr(cells(events, columns)) == repr(cells(ordered, columns))
            assert len({event.order for event in events}) == len(events)
            leaves = {(leaf.n, leaf.i): leaf.source.name for leaf in stream.leaves}
            ours = [
                (name, dead.partition // n, dead.offset, dead.reason)
                for dead in truth.dead
                for (n, i), name in leaves.items()
                if dead.partition % n == i
            ]
            assert sorted(refused, key=repr) == sorted(ours, key=repr)
        rows = in_process.derived(STREAMS["again"], found).events
        assert tile_rows(VIEW, tiles_of(history, VIEW)) == tile_rows(
            VIEW, in_process.tiles(VIEW, rows)
        )


@FEW
@given(random_logs, st.integers(0, 1_000))
def test_a_larger_sample_holds_the_smaller(log: list[Message], cut: int) -> None:
    rows = in_process.events(SOURCE, log).events
    small, large = (
        {row.order for row in Sample(("k",), share).of(rows)}
        for share in sorted(((cut + 1) / 1_001, 0.5))
    )
    assert small <= large
