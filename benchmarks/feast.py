"""headrace against Feast: training sets, reads in process, and a server's latency.

::

    1 M feature rows (Parquet) ─┬─ Feast     get_historical_features, its DuckDB store
    100 k decisions (a frame) ──┼─ headrace  a training set of the same file
                                └─ by hand   DuckDB's ASOF JOIN, and nothing else
    the newest of each key ─────┬─ Feast     get_online_features; online_read; feast serve
                                └─ headrace  OnlineReader.read; the store process

Each join is a process of its own; its `first` call and the one `again` are told apart, with the
highest memory that the process had. Feast's bound is at ≤ t and ours is at < b: the rows lie half a
second beside the steps and the decisions on them, so both ask the same. All answers are compared.
Feast's joins cost what pairs a key has within the ttl; so there is one run whose ttl is longer than
the data, and one with a day.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.environment import versions_of
from benchmarks.feast_online import in_process, over_http
from benchmarks.feast_process import ran
from benchmarks.measure import Ratio, alternate, equal, say, store

__all__ = ["run"]

ROWS, DECISIONS, FEATURES, THREADS = 1_000_000, 100_000, 5, 2
_DAY = 86_400_000
_STARTS, _DAYS = 1_700_006_400_000, 30
CASES = {"10k keys": (10_000, 365), "1k keys": (1_000, 365), "10k keys, ttl 1 day": (10_000, 1)}
"""Per case its keys, and the ttl in days."""
_WAYS = ("feast", "ours", "by_hand")
_WHAT = ("wall", "cpu")


def _times(rng: np.random.Generator, count: int, plus_ms: int) -> pa.Array:
    at = _STARTS + rng.integers(0, _DAYS * _DAY // 1_000, count) * 1_000 + plus_ms
    return pa.array(np.sort(at) * 1_000, pa.timestamp("us", tz="UTC"))


def _write(folder: Path, keys: int) -> None:
    """Write feature rows, and decisions of which one in a hundred has a key that has none."""
    rng = np.random.default_rng(20130101)
    columns = {f"f{i}": rng.normal(size=ROWS) for i in range(FEATURES)}
    rows = {"user_id": rng.integers(0, keys, ROWS), "event_timestamp": _times(rng, ROWS, 500)}
    pq.write_table(_once(pa.table({**rows, **columns})), folder / "rows.parquet")
    asked = {
        "user_id": rng.integers(0, keys + keys // 100, DECISIONS),
        "event_timestamp": rng.permutation(
            _times(rng, DECISIONS, 0).to_numpy(zero_copy_only=False)
        ),
    }
    table = pa.table(asked).append_column("row", pa.array(np.arange(DECISIONS)))
    kinds = pa.schema([("user_id", pa.int64()), ("event_timestamp", pa.timestamp("us", "UTC"))])
    pq.write_table(table.cast(kinds.append(pa.field("row", pa.int64()))), folder / "asked.parquet")


def _once(rows: pa.Table) -> pa.Table:
    """Drop rows of one key and time: each way breaks such ties by a rule of its own."""
    keys = np.stack([rows["user_id"].to_numpy(), rows["event_timestamp"].to_numpy().astype(int)])
    _, places = np.unique(keys, axis=1, return_index=True)
    return rows.take(np.sort(places))


def _join(way: str, folder: Path, *, ttl_days: int, calls: int) -> dict[str, Any]:
    """Run one way in a process of its own."""
    names = [f"f{i}" for i in range(FEATURES)]
    task: dict[str, object] = {"what": "history", "features": names, "calls": calls}
    task |= {"ttl_ms": ttl_days * _DAY, "threads": THREADS, "repository": str(folder / "feast")}
    files = {"rows": "rows.parquet", "asked": "asked.parquet", "answers": f"{way}.parquet"}
    task |= {name: str(folder / file) for name, file in files.items()}
    took = ran(way, task, folder)
    first, again = took["calls"][0], took["calls"][-1]
    say(f"   {way}: first {first['wall']:.2f} s, again {again['wall']:.2f} s")
    return {"first": first, "again": again, "peak_bytes": took["peak_bytes"]}


def _compare(case: str, folder: Path) -> None:
    names = ["row", *(f"f{i}" for i in range(FEATURES))]
    answers = [
        pq.read_table(folder / f"{way}.parquet", columns=names).sort_by("row") for way in _WAYS
    ]
    found, *others = (one.cast(answers[0].schema).combine_chunks() for one in answers)
    nulls = found["f0"].null_count
    same = all(found.equals(other) for other in others)
    equal(f"{case}, {found.num_rows} rows, {nulls} without features", same)


def _history(rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for case, (keys, ttl_days) in CASES.items():
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            folder = Path(name)
            _write(folder, keys)
            few = keys < _MANY
            calls = {way: 1 if few and way == "feast" else 2 for way in _WAYS}
            join = partial(_join, folder=folder, ttl_days=ttl_days)
            ways = {way: partial(join, way, calls=calls[way]) for way in _WAYS}
            took = alternate(ways, 1 if few else rounds)
            _compare(case, folder)
        ratios = {
            f"{a} / {b}, {call} {what}": Ratio.of(
                [each[call][what] for each in took[a]], [each[call][what] for each in took[b]]
            )
            for a, b in (("feast", "ours"), ("ours", "by_hand"))
            for call in ("first", "again")
            for what in _WHAT
        }
        peaks = ([each["peak_bytes"] for each in took[way]] for way in ("ours", "feast"))
        ratios["ours / feast, peak memory"] = Ratio.of(*peaks)
        found[case] = {"ratios": ratios, "took": took}
    return found


_MANY = 10_000
"""With fewer keys than these Feast takes minutes: one round, and of it one call."""


def run(rounds: int) -> list[str]:
    """Measure joins, reads and the server; give a line each."""
    history = _history(rounds)
    online, served = in_process(rounds), over_http(rounds)
    store(
        "feast",
        rows=ROWS,
        decisions=DECISIONS,
        features=FEATURES,
        rounds=rounds,
        versions_of_peers={"feast": versions_of("feast")},
        history=history,
        online=online,
        http=served,
    )
    lines = [_line(case, found["ratios"]) for case, found in history.items()]
    lines += [_line(case, found["ratios"]) for case, found in {**online, "HTTP": served}.items()]
    for line in lines:
        say(f"   {line}")
    return lines


def _line(case: str, ratios: dict[str, Ratio]) -> str:
    return f"{case}: " + "; ".join(f"{what} {ratio}" for what, ratio in ratios.items())
