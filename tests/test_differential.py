"""Random logs, hard to read: in process = DuckDB = hot index, bit for bit.

What Hypothesis finds becomes a row of `tests/cases`, or a cell or message of `tests/logs.py`.
HYPOTHESIS_EXAMPLES sets how long it looks.
"""

from __future__ import annotations

import os
from itertools import pairwise, product

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.feature_store.history import History
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Events, Message
from headrace.operators.functions import Value
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import View
from headrace.pipelines.feature import parse
from tests import logs
from tests.engines import (
    Ask,
    asked_duckdb,
    asked_index,
    by_in_process,
    companion_rows,
    rows_in_process,
    rows_of_tiles,
    tile_rows,
    tiles_of,
    told,
)
from tests.laws import LAWS
from tests.logs import SOURCE, VIEWS

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "12"))
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# A log by itself takes 6 s, nearly all of it DuckDB's planning; `test_fuzz.py` has many at once.
FEWER = settings(FEW, max_examples=max(1, EXAMPLES // 3))

times = st.integers(0, 14_000).map(str)


def _row(bad: bool) -> st.SearchStrategy[bytes]:
    """Give messages with good cells, or with one bad one."""
    good = st.fixed_dictionaries(
        {name: st.sampled_from(cells) for name, cells in logs.CELLS.items()}
    )
    if not bad:
        return st.builds(logs.payload, times, good)
    wrong = st.sampled_from(
        [{name: cell} for name, cells in logs.BAD_CELLS.items() for cell in cells]
    )
    cells = st.builds(lambda row, one: {**row, **one}, good, wrong)
    return st.builds(logs.payload, times, cells) | st.builds(
        logs.payload, st.sampled_from((*logs.BAD_TIMES, *logs.ODD_TIMES)), good
    )


good_rows = _row(bad=False)
messages: st.SearchStrategy[bytes | None] = st.one_of(
    good_rows, good_rows, good_rows, _row(bad=True), st.sampled_from((*logs.BROKEN, *logs.ODD))
)
random_logs = st.lists(st.tuples(st.integers(0, 1), messages), max_size=40).map(logs.placed)
_PARTS: dict[Type, tuple[Value, ...]] = {
    Type.STRING: ("a", "b", "", "a|b", "|", "é", "😀", "1.50", "unknown", None),
    Type.INT64: (0, 1, 7, 15, -1, 2**63 - 1, 12, None),
}


def _asks(view: View) -> st.SearchStrategy[list[Ask]]:
    key = st.tuples(*(st.sampled_from(_PARTS[kind]) for kind in view.key_types))
    return st.lists(st.tuples(key, st.integers(0, 40_000)), min_size=1, max_size=12)


def same_rows(history: History, truth: Events) -> None:
    """Compare what became of every message."""
    refused = history.query('SELECT * FROM refused_events ORDER BY partition, "offset"')
    ours = sorted((*truth.dead, *truth.late), key=lambda row: (row.partition, row.offset))
    assert refused.to_pylist() == [vars(row) for row in ours]

    columns = ("partition", "offset", *SOURCE.types, *SOURCE.hidden)
    names = ", ".join(f'"{name}"' for name in columns)
    events = history.query(f'SELECT {names} FROM events_events ORDER BY partition, "offset"')
    assert [repr(row) for row in events.to_pylist()] == [
        repr({"partition": event.partition, "offset": event.offset, **event.values})
        for event in sorted(truth.events, key=lambda event: (event.partition, event.offset))
    ]


@FEWER
@given(random_logs, st.tuples(*map(_asks, VIEWS.values())), st.integers(0, 1_000))
def test_every_engine_gives_the_same(
    log: list[Message], asks: tuple[list[Ask], ...], cut: int
) -> None:
    truth = in_process.events(SOURCE, log)
    with told(SOURCE, list(VIEWS.values()), log) as history:
        same_rows(history, truth)
        for view, asked in zip(VIEWS.values(), asks, strict=True):
            tiles = tiles_of(history, view)
            ours_tiles = in_process.tiles(view, truth.events)
            assert tile_rows(view, tiles) == tile_rows(view, ours_tiles)
            rows = rows_of_tiles(history, view)
            ours_rows = rows_in_process(view, truth.events)
            assert companion_rows(rows) == companion_rows(ours_rows)
            answers = repr(by_in_process(view, log, asked))
            assert repr(asked_duckdb(history, view, asked)) == answers
            place = cut % (tiles.num_rows + 1)
            batches = [tiles.slice(0, place), tiles.slice(place)]
            assert repr(asked_index(view, batches, asked, rows)) == answers


def test_what_is_hard_to_read_is_read_by_both_as_it_should() -> None:
    """One log with each message that is odd, broken or bad in one cell, alone."""
    base = {"name": '"id"', "k": '"a"'}
    events = [*logs.ODD]
    events += [logs.payload(at, base) for at in logs.ODD_TIMES]
    events += [
        logs.payload("9000", {**base, name: cell})
        for name, cells in logs.CELLS.items()
        for cell in cells
    ]
    dead = [*logs.BROKEN]
    dead += [logs.payload(at, base) for at in logs.BAD_TIMES]
    dead += [
        logs.payload("9000", {**base, name: cell})
        for name, cells in logs.BAD_CELLS.items()
        for cell in cells
    ]
    assert min(len(events), len(dead)) > 90
    for payloads, is_event in ((events, True), (dead, False)):
        # A partition for each, so that none is late.
        log = logs.placed(list(enumerate(payloads)))
        truth = in_process.events(SOURCE, log)
        wrong = {event.partition for event in truth.events} ^ set(
            range(len(log)) if is_event else ()
        )
        assert [payloads[place] for place in sorted(wrong)] == []
        with told(SOURCE, list(VIEWS.values()), log) as history:
            same_rows(history, truth)


plain = st.lists(good_rows, max_size=25, unique_by=lambda said: said.partition(b",")[0])


@FEW
@given(plain, st.data())
def test_order_of_arrival_and_partitions_do_not_matter(
    rows: list[bytes], data: st.DataObject
) -> None:
    """Within the lateness, and where no two rows are of one time, which their place would order."""
    patient = SOURCE.__class__(**{**vars(SOURCE), "lateness_ms": 1_000_000})
    for view in VIEWS.values():
        waiting = View(**{**vars(view), "source": patient})
        asked = data.draw(_asks(view))
        once = by_in_process(waiting, logs.placed([(0, row) for row in rows]), asked)
        moved = [(data.draw(st.integers(0, 1)), row) for row in data.draw(st.permutations(rows))]
        assert repr(by_in_process(waiting, logs.placed(moved), asked)) == repr(once)


@FEW
@given(st.lists(st.none() | st.integers(-1_000, 1_000)), st.data())
def test_the_laws_hold(numbers: list[int | None], data: st.DataObject) -> None:
    kind = AGGREGATES[data.draw(st.sampled_from(sorted(AGGREGATES)))]
    fewest, most = kind.columns
    for count, given_type in product(range(fewest, most + 1), (Type.INT64, Type.FLOAT64)):
        if kind.takes and given_type not in kind.takes:
            continue
        source = Source("s", "s", tuple(Column(name, given_type) for name in "xy"))
        example = kind.example(*"xy"[:count])
        aggregate = parse(example, source).aggregate.over(1_000)
        whole = given_type is Type.INT64
        values = [n if n is None or whole else n / 1_000 for n in numbers]
        for law in LAWS:
            law(aggregate, values)


@FEW
@given(plain, st.lists(st.integers(0, 200), max_size=5))
def test_the_cut_into_batches_does_not_matter(rows: list[bytes], cuts: list[int]) -> None:
    found = in_process.events(SOURCE, logs.placed([(0, row) for row in rows])).events
    for view in VIEWS.values():
        tiles = in_process.tiles(view, found)
        table = pa.Table.from_pylist(tiles, view.tile_schema).sort_by("end")
        edges = [0, *sorted(min(cut, len(tiles)) for cut in cuts), len(tiles)]
        batches = [table.slice(a, b - a) for a, b in pairwise(edges)]
        key = {tuple(tile[part] for part in view.key) for tile in tiles} or {
            (None,) * len(view.key)
        }
        asked = [(each, at) for each in sorted(key, key=repr) for at in (0, 5_000, 9_999, 20_000)]
        more = rows_in_process(view, found)
        whole = asked_index(view, [table], asked, more)
        assert repr(asked_index(view, batches, asked, more)) == repr(whole)
