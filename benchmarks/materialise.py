"""Materialising: tiles of a view from Kafka to committed, through the store process as it runs.

A real broker has the panes of a view, two shards, 1,000 or 50 tiles a message; a store process
begins at offset 0 with an empty file and reads to the end: poll, parse, append to the table and to
the hot index, offsets in the same transaction, COMMIT with its sync. Beside it, in the same rounds,
what cannot be avoided: DuckDB's append of the same tiles, ready as Arrow, in as many transactions.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa

from benchmarks.measure import Ratio, alternate, cost, equal, say, store
from headrace.jobs import assembly
from headrace.jobs.machine.broker import running
from headrace.jobs.store import StoreProcess
from headrace.jobs.transport import Writer, create_topics
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline

__all__ = ["run"]

TILES = 2_000_000
FORMS = {"large": 1_000, "small": 50}
"""Tiles a message."""
KEYS = 100_000
EVERY = 1_000
_SHARDS = 2
_TEXT = """\
pipeline: NAME
every: 1s
sources:
  bid: {keep: false, columns: {item: int64, price: int64}}
  ask: {keep: false, columns: {name: string required, item: int64}}
views:
  bids:
    source: bid
    key: item
    shards: 2
    features: {n: count() over 1m, total: sum(price) over 1h}
decision: {source: ask, id: name}
outcome: {source: ask, id: name, label: item >= 5, within: 1h}
model: {kind: ftrl, slots: 1024, buckets: {n: [1, 2]}, tokens: [n], publish_every: 1h}
"""


def _pipeline(folder: Path, name: str) -> Pipeline:
    path = folder / f"{name}.yaml"
    path.write_text(_TEXT.replace("NAME", name))
    return load(path)


def _panes(tiles: int, rng: np.random.Generator) -> Iterator[tuple[int, bytes]]:
    """Write panes of so many tiles: the shard, the message."""
    for pane in range(TILES // tiles):
        shard, end = pane % _SHARDS, (pane // _SHARDS + 1) * EVERY
        items = rng.choice(KEYS // _SHARDS, tiles, replace=False) * _SHARDS + shard
        prices = rng.integers(0, 10_000, tiles)
        made = [
            {"k0": int(item), "p0": 3, "p1": int(price)}
            for item, price in zip(items, prices, strict=True)
        ]
        yield shard, orjson.dumps({"end": end, "rows": 3 * tiles, "unkeyed": 0, "tiles": made})


class Bench:
    """The panes of one form in the broker, and how they are taken in."""

    def __init__(self, bootstrap: str, folder: Path, name: str) -> None:
        self.pipeline = _pipeline(folder, name)
        self._bootstrap, self._folder = bootstrap, folder
        create_topics(bootstrap, assembly.topics(self.pipeline))
        topic = self.pipeline.view_topic(self.pipeline.views["bids"])
        panes, bytes_in_all = 0, 0
        with Writer(bootstrap) as writer:
            for shard, pane in _panes(FORMS[name], np.random.default_rng(7)):
                writer.send(topic, pane, partition=shard)
                panes, bytes_in_all = panes + 1, bytes_in_all + len(pane)
        say(f"   {name}: {panes} messages, {bytes_in_all / TILES:.0f} bytes a tile")
        self._panes = panes
        self._transactions = 0
        self._tiles = self._kept()

    def _kept(self) -> pa.Table:
        """Take all in once, to compile, to check the number, and for the bare append."""
        with self._process() as process:
            self._drain(process)
            tiles = process.store.catalogue.read('SELECT * FROM views.bids ORDER BY "end"')
        equal(f"{self.pipeline.name}: {TILES} tiles", tiles.num_rows == TILES)
        return tiles

    @contextmanager
    def _process(self) -> Iterator[StoreProcess]:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            folder = Path(name)
            models = folder / "models"
            with closing(
                StoreProcess(self.pipeline, bootstrap=self._bootstrap, folder=folder, models=models)
            ) as process:
                yield process

    def _drain(self, process: StoreProcess) -> None:
        self._transactions = 0
        while sum(process.read.values()) < self._panes:
            self._transactions += process.step()

    def by_store(self) -> dict[str, float]:
        """Read all to committed; wall and CPU seconds from the first poll on."""
        with self._process() as process:
            return cost(lambda: self._drain(process))

    def by_duckdb(self) -> dict[str, float]:
        """Append the same tiles, ready as Arrow, in as many transactions."""
        size = -(-TILES // self._transactions)
        path = self._folder / "bare.duckdb"
        with closing(duckdb.connect(str(path), config={"threads": 1})) as bare:
            bare.register("tiles", self._tiles)
            bare.execute("CREATE OR REPLACE TABLE kept AS SELECT * FROM tiles LIMIT 0")

            def append() -> None:
                for start in range(0, TILES, size):
                    bare.register("part", self._tiles.slice(start, size))
                    bare.execute("INSERT INTO kept SELECT * FROM part")  # its own transaction

            return cost(append)

    def measure(self, rounds: int) -> dict[str, Any]:
        """Time both in turn."""
        found = alternate({"store": self.by_store, "duckdb": self.by_duckdb}, rounds)
        walls = [each["wall"] for each in found["store"]]
        cpu = statistics.median(each["cpu"] for each in found["store"])
        rates = sorted(round(TILES / wall) for wall in walls)
        ratio = Ratio.of(walls, [each["wall"] for each in found["duckdb"]])
        median = statistics.median(rates)
        say(f"   {self.pipeline.name}: {median:,.0f} tiles/s ({rates[0]:,}–{rates[-1]:,})")
        return {
            "tiles_a_message": FORMS[self.pipeline.name],
            "tiles_a_second": {"least": rates[0], "median": median, "greatest": rates[-1]},
            "tiles_a_cpu_second": round(TILES / cpu),
            "transactions": self._transactions,
            "seconds": found,
            "ratio_to_bare_append": ratio,
        }


def run(rounds: int) -> list[str]:
    """Measure both forms; give a line each."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        with running(folder / "broker") as broker:
            forms = {form: Bench(broker.address, folder, form).measure(rounds) for form in FORMS}
    store("materialise", rounds=rounds, tiles=TILES, keys=KEYS, forms=forms)
    return [
        f"{TILES / 1e6:g} M tiles, {told['tiles_a_message']} a message: "
        f"{told['tiles_a_second']['median']:,.0f} tiles/s from Kafka to committed "
        f"({told['tiles_a_cpu_second']:,} a CPU second); {told['ratio_to_bare_append']} times "
        "DuckDB's bare append of the same tiles"
        for told in forms.values()
    ]
