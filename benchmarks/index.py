"""The hot index: reads at many (key, t) against DuckDB's ASOF joins, and how fast it loads.

Tiles of a minute over 10 windows with 5 aggregates each, 50 features a row; and without minimum and
maximum, 30. Prepared reads are timed as a user calls them, from Python values to Python values. A
store's start is timed from its file. DuckDB is given its running sums ready made, sorted
by key, and reads those of the asked keys only; minimum and maximum are a join with the tiles of the
window.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.measure import Ratio, alternate, equal, say, seconds, store
from headrace.feature_store.index import Index
from headrace.feature_store.online import OnlineReader
from headrace.feature_store.store import Declared, Store
from headrace.feature_store.versions import table_of
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View

__all__ = ["run"]

KEYS, TILES_A_KEY, BATCH = 10_000, 1_000, 1_000_000
EVERY = 60_000
MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 360, 1440)
NAMES = {"sums": ("count", "sum", "mean"), "all": ("count", "sum", "mean", "min", "max")}
ONLINE = {"1 x 5": (1, 5, 3_000), "100 x 20": (100, 20, 300)}
"""Entities, features of one view, and how many such reads are timed one by one."""
READS = {1: 300, 100: 100, 1000: 20}
"""How many reads of each size are timed together; of DuckDB's a fiftieth."""
_FEWER = 50
_STARTS = 1_356_998_400_000
_SPAN = 2 * 86_400_000


def _view(kind: str) -> View:
    source = Source("bid", "bid", (Column("item", Type.INT64), Column("price", Type.INT64)))
    features = tuple(
        Feature(f"{name}_{minutes}", AGGREGATES[name]("price", Type.INT64), minutes * EVERY)
        for minutes in MINUTES
        for name in NAMES[kind]
    )
    return View("bids", source, ("item",), EVERY, features)


def _tiles(view: View, rng: np.random.Generator) -> pa.Table:
    """Make tiles in order of their ends: every key has one at random minutes of two days."""
    panes = np.sort(
        rng.permuted(np.tile(np.arange(_SPAN // EVERY), (KEYS, 1)), axis=1)[:, :TILES_A_KEY], axis=1
    )
    end, item = panes.ravel(), np.repeat(np.arange(KEYS), TILES_A_KEY)
    order = np.argsort(end, kind="stable")
    count = rng.integers(1, 6, end.size)
    low = rng.integers(0, 1_000, end.size)
    high = low + rng.integers(0, 1_000, end.size)
    columns = {
        "item": item[order],
        "end": _STARTS + (end[order] + 1) * EVERY,
        "count_price": count,
        "sum_price": low * count,
        "min_price": low,
        "max_price": high,
    }
    return pa.table({name: columns[name] for name in view.tile_schema.names}, view.tile_schema)


def _load(view: View, tiles: pa.Table) -> Index:
    index = Index(view)
    for start in range(0, tiles.num_rows, BATCH):
        index.append(tiles.slice(start, BATCH))
    return index


def _query(kind: str) -> str:
    """Write the read by hand: ASOF joins for sums, a join for extremes."""
    bound = f'd."at" // {EVERY} * {EVERY}'
    joins = [
        f"ASOF LEFT JOIN known r{minutes} ON d.item = r{minutes}.item "
        f'AND {bound} - {minutes * EVERY} >= r{minutes}."end"'
        for minutes in (0, *MINUTES)
    ]
    columns: list[str] = []
    extremes: list[str] = []
    for minutes in MINUTES:
        count = f"(COALESCE(r0.n, 0) - COALESCE(r{minutes}.n, 0))"
        total = f"(COALESCE(r0.s, 0) - COALESCE(r{minutes}.s, 0))"
        columns += [
            f"{count}::BIGINT AS count_{minutes}",
            f"{total}::BIGINT AS sum_{minutes}",
            f"{total} / NULLIF({count}, 0) AS mean_{minutes}",
        ]
        if kind == "sums":
            continue
        columns += [f"min_{minutes}", f"max_{minutes}"]
        inside = f'FILTER (t."end" > {bound} - {minutes * EVERY})'
        extremes += [
            f"MIN(t.min_price) {inside} AS min_{minutes}",
            f"MAX(t.max_price) {inside} AS max_{minutes}",
        ]
    # An ASOF join sorts its whole right side: without this, ten million rows eleven times.
    known = "known AS MATERIALIZED (FROM running WHERE item IN (SELECT item FROM asked))"
    asof = f"SELECT {', '.join(columns)} FROM asked d {' '.join(joins)}"
    if kind == "sums":
        return f"WITH {known} {asof} ORDER BY d.row"
    return (
        f"WITH {known}, extremes AS (SELECT d.row, {', '.join(extremes)} FROM asked d JOIN tiles t "
        f'ON d.item = t.item AND t."end" <= {bound} AND t."end" > {bound} - '
        f"{max(MINUTES) * EVERY} GROUP BY ALL) "
        f"{asof} LEFT JOIN extremes e ON d.row = e.row ORDER BY d.row"
    )


class Bench:
    """The same tiles in an index and in DuckDB."""

    def __init__(self, tiles: pa.Table, rng: np.random.Generator) -> None:
        self.index = {kind: _load(_view(kind), tiles) for kind in NAMES}
        self._rng = rng
        self._duckdb = duckdb.connect(config={"threads": 2, "memory_limit": "4GB"})
        self._duckdb.register("arrow_tiles", tiles)
        self._duckdb.execute('CREATE TABLE tiles AS FROM arrow_tiles ORDER BY item, "end"')
        self._duckdb.execute(
            'CREATE TABLE running AS SELECT item, "end", (SUM(count_price) OVER w)::BIGINT AS n, '
            "(SUM(sum_price) OVER w)::BIGINT AS s FROM tiles "
            'WINDOW w AS (PARTITION BY item ORDER BY "end") ORDER BY item, "end"'
        )

    def asked(self, count: int) -> pa.Table:
        """Choose keys (one in a hundred unknown) and times, of the second day."""
        item = self._rng.integers(0, KEYS + KEYS // 100, count)
        at = _STARTS + _SPAN // 2 + self._rng.integers(0, _SPAN // 2, count)
        return pa.table({"row": np.arange(count), "item": item, "at": at})

    def by_index(self, kind: str, asked: pa.Table) -> pa.Table:
        """Read from the index."""
        keys = [asked["item"].combine_chunks()]
        return pa.table(self.index[kind].read(keys, asked["at"].to_numpy()))

    def by_duckdb(self, kind: str, asked: pa.Table) -> pa.Table:
        """Read from DuckDB."""
        self._duckdb.register("asked", asked)
        return self._duckdb.sql(_query(kind)).to_arrow_table()

    def compare(self) -> None:
        """Compare the answers of both."""
        asked = self.asked(1000)
        for kind in NAMES:
            mine, yours = self.by_index(kind, asked), self.by_duckdb(kind, asked)
            cells = mine.num_rows * mine.num_columns
            equal(f"{kind}, {cells} cells", mine.equals(yours.cast(mine.schema)))

    def measure(self, kind: str, size: int, rounds: int) -> dict[str, object]:
        """Time reads of `size` rows."""
        many = READS[size]
        few = max(1, many // _FEWER)
        questions = [self.asked(size) for _ in range(many)]

        def index() -> float:
            return seconds(lambda: [self.by_index(kind, one) for one in questions]) / many

        def asof() -> float:
            return seconds(lambda: [self.by_duckdb(kind, one) for one in questions[:few]]) / few

        found = alternate({"index": index, "duckdb": asof}, rounds)
        ratio = Ratio.of(found["duckdb"], found["index"])
        rate = round(size / min(found["index"]))
        say(f"   {kind}, {size} at once: {rate} rows/s; DuckDB takes {ratio} times as long")
        return {
            "seconds_a_read": found,
            "rows_per_second_at_best": rate,
            "ratio_duckdb_to_index": ratio,
        }


def _online(index: Index, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Time prepared reads of now: the µs that half of them, and all but one in a hundred, take."""
    names = [feature.name for feature in index.view.features]
    complete = _STARTS + _SPAN
    found = {}
    for name, (entities, features, many) in ONLINE.items():
        reader = OnlineReader(
            {"bids": index}, {"bids": ("item",)}, names[:features], lambda _: complete
        )
        asked = [
            [{"item": item} for item in rng.integers(0, KEYS, entities).tolist()]
            for _ in range(many)
        ]
        times = []
        for one in asked:
            start = time.perf_counter()
            reader.read(one, complete)
            times.append(time.perf_counter() - start)
        p50, p99 = (float(np.percentile(times, each)) * 1e6 for each in (50, 99))
        found[name] = {"p50_us": round(p50, 1), "p99_us": round(p99, 1)}
        say(f"   online, {name}: p50 {p50:.1f} µs, p99 {p99:.1f} µs")
    return found


def _start(view: View, tiles: pa.Table, rounds: int) -> int:
    """Time a store's start on a file with the tiles; give tiles a second at best."""
    declared = Declared(EVERY, {"bids": view}, view.source, "item", {"bids": ("item",)})
    best = 0.0
    with TemporaryDirectory(prefix="headrace-bench-") as folder:
        path = Path(folder) / "store.duckdb"
        opened = Store(path, declared)
        with opened.catalogue.transaction():
            opened.catalogue.append(table_of(opened.versions["bids"]), tiles)
        opened.catalogue.close()
        for _ in range(rounds):
            start = time.perf_counter()
            opened = Store(path, declared)
            best = max(best, tiles.num_rows / (time.perf_counter() - start))
            opened.catalogue.close()
    say(f"   a store starts with {best / 1e6:.2f} M tiles/s from its file")
    return round(best)


def run(rounds: int) -> list[str]:
    """Measure loads and reads; give a line each."""
    rng, view = np.random.default_rng(20130101), _view("all")
    tiles = _tiles(view, rng)
    _load(view, tiles.slice(0, BATCH))  # compiles
    rate = round(max(tiles.num_rows / seconds(lambda: _load(view, tiles)) for _ in range(rounds)))
    say(f"   {tiles.num_rows} tiles loaded, {rate / 1e6:.2f} M/s at best")
    started = _start(view, tiles, rounds)
    bench = Bench(tiles, rng)
    online = _online(bench.index["all"], rng)
    bench.compare()
    reads = {
        kind: {str(size): bench.measure(kind, size, rounds) for size in READS} for kind in NAMES
    }
    store(
        "index",
        rounds=rounds,
        tiles=tiles.num_rows,
        keys=KEYS,
        load_tiles_per_second_at_best=rate,
        start_tiles_per_second_at_best=started,
        online=online,
        reads=reads,
    )
    return [
        f"{tiles.num_rows / 1e6:g} M tiles, {len(_view(kind).features)} features a row, "
        + "; ".join(
            f"{size} at once: {read['rows_per_second_at_best']} rows/s, "
            f"DuckDB takes {read['ratio_duckdb_to_index']} times as long"
            for size, read in of_kind.items()
        )
        for kind, of_kind in reads.items()
    ] + [
        f"loads {rate / 1e6:.1f} M tiles/s, a store starts with {started / 1e6:.1f} M tiles/s",
        "; ".join(f"online {name}: p50 {each['p50_us']} µs" for name, each in online.items()),
    ]
