"""The features of every key at every step, from the topics of tiles: loaded by `peer_job`.

The second half of ours: what the stream made of the log is read by the hot index, as the store
process does it. A key whose window is empty gives no row, for no peer knows of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.feature_store.index import Index
from headrace.feature_store.panes import read_tiles
from headrace.jobs import transport
from headrace.jobs.transport import Reader
from headrace.operators.view import END, View
from headrace.pipelines.load import load

__all__ = ["run"]

_STEPS = 20
"""So many steps are read at once."""


def run(task: dict[str, Any]) -> None:
    """Read the tiles to their end, then every window, and write the features of every view."""
    pipeline = load(Path(task["pipeline"]))
    for key, topic in task["views"]:
        view = pipeline.views[f"by_{key}"]
        rows = _features(view, _messages(task["bootstrap"], topic), task["window_ms"])
        pq.write_table(rows, Path(task["folder"]) / f"by_{key}.parquet")


def _messages(bootstrap: str, topic: str) -> list[bytes]:
    end = transport.ends(bootstrap, [topic])[topic, 0]
    messages: list[bytes] = []
    with Reader(bootstrap, {(topic, 0): 0}) as reader:
        while len(messages) < end:
            for some in reader.poll(1_000).values():
                messages += [message.value for message in some if message.value is not None]
    return messages


def _features(view: View, messages: list[bytes], window_ms: int) -> pa.Table:
    panes = read_tiles(view, messages, 0)
    names = [feature.name for feature in view.features]
    if panes is None or not panes.items.num_rows:
        return pa.table({})
    index = Index(view)
    index.append(panes.items, panes.more)
    (key,) = view.key
    keys = panes.items[key].combine_chunks().unique()
    ends = pc.min_max(panes.items[END]).as_py()
    steps = np.arange(ends["min"], ends["max"] + window_ms, view.every_ms)
    tables = []
    for start in range(0, len(steps), _STEPS):
        some = steps[start : start + _STEPS]
        places = np.tile(np.arange(len(keys)), len(some))
        asked, at = keys.take(pa.array(places)), np.repeat(some, len(keys))
        table = pa.table({key: asked, END: at, **index.read([asked], at)})
        tables.append(table.filter(pc.greater(table[names[0]], 0)))
    return pa.concat_tables(tables)
