"""An index of many keys, in a process of its own: ``scale_job.py KEYS TILES``, JSON to stdout.

Every key gets as many tiles; they come in the order of time, as from the stream.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headrace.feature_store.index import Index
from headrace.operators.aggregates import AGGREGATES
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View

BATCH = 1_000_000
EVERY = 1_000
READS, ROWS = 50, 1_000
_STARTS = 1_356_998_400_000


def _view() -> View:
    source = Source("action", "action", (Column("user", Type.STRING), Column("value", Type.INT64)))
    features = tuple(
        Feature(f"{name}_1m", AGGREGATES[name]("value", Type.INT64), 60_000)
        for name in ("mean", "count")
    )
    return View("by_user", source, ("user",), EVERY, features)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _users(numbers: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise("u", pc.cast(numbers, pa.string()), "")


def main(keys: int, count: int) -> None:
    """Fill it, read it, and say what that took."""
    rng, view = np.random.default_rng(20130101), _view()
    index = Index(view)
    before, took = _peak_bytes(), 0.0
    for start in range(0, count, BATCH):
        place = np.arange(start, min(start + BATCH, count))
        values = rng.integers(1, 10_000, len(place))
        columns = {
            "user": _users(pa.array(place % keys)),
            "end": _STARTS + (place // keys + 1) * EVERY,
            "sum_value": values,
            "count_value": np.ones(len(place), np.int64),
        }
        tiles = pa.table({name: columns[name] for name in view.tile_schema.names})
        cpu = time.process_time()
        index.append(tiles.cast(view.tile_schema))
        took += time.process_time() - cpu
    grown = _peak_bytes() - before
    at = np.full(ROWS, _STARTS + (count // keys + 1) * EVERY)
    questions = [_users(pa.array(rng.integers(0, keys, ROWS))) for _ in range(READS)]
    index.read([questions[0]], at)
    cpu = time.process_time()
    for users in questions:
        index.read([users], at)
    read = (time.process_time() - cpu) / READS
    told = {"append_us": took / count * 1e6, "bytes_a_tile": grown / count, "read_ms": read * 1e3}
    sys.stdout.write(orjson.dumps(told).decode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
