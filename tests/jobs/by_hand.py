"""A store fed by hand: the panes that the views job would write of some logs, all scored."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import orjson
import pyarrow as pa

from headrace.feature_store.store import Store
from headrace.operators.engines import in_process
from headrace.operators.engines.in_process import Message, Refused
from headrace.operators.source import Source
from headrace.operators.view import END, NEWEST_AT, NEWEST_PLACE, View
from headrace.pipelines.pipeline import Pipeline

__all__ = ["feed", "said"]


def said(rows: Sequence[Mapping[str, object]], partition: int = 0) -> list[Message]:
    """Make a topic's messages of rows."""
    return [(partition, n, 10**14, orjson.dumps(row)) for n, row in enumerate(rows)]


def feed(
    store: Store, pipeline: Pipeline, logs: Mapping[str, Sequence[Message]], *, until: int
) -> None:
    """Let the store take what a stream makes of logs, from their beginning, to the step `until`."""
    found = {
        name: in_process.events(source, logs.get(name, ()))
        for name, source in pipeline.sources.items()
    }
    ends = range(pipeline.every_ms, until + 1, pipeline.every_ms)
    with store.catalogue.transaction():
        for view in pipeline.streamed.values():
            tiles = in_process.tiles(view, found[view.source.name].events)
            for shard in range(view.shards):
                panes = [_pane(view, shard, end, tiles) for end in ends]
                store.add_tiles(view.name, shard, panes)
        decisions = [
            {"partition": event.partition, "offset": event.offset, **event.values}
            for event in found[pipeline.decision.source.name].events
        ]
        store.add_decisions([_decisions(end, pipeline.every_ms, decisions) for end in ends])
        for name, each in found.items():
            _refused(store, pipeline.sources[name], each.dead, each.late)
        ready = store.take_ready()
        ready = ready.append_column("p", pa.array([0.5] * ready.num_rows, pa.float64()))
        version = pa.array([0] * ready.num_rows, pa.int64())
        store.add_predictions(ready.append_column("version", version))


def _pane(view: View, shard: int, end: int, tiles: Sequence[Mapping[str, object]]) -> bytes:
    items = [
        _item(view, tile)
        for tile in tiles
        if tile[END] == end and zlib.crc32(repr(tile[view.key[0]]).encode()) % view.shards == shard
    ]
    return orjson.dumps({"end": end, "rows": len(items), "unkeyed": 0, "tiles": items})


def _item(view: View, tile: Mapping[str, object]) -> dict[str, object]:
    item = {f"k{i}": tile[part] for i, part in enumerate(view.key)}
    item |= {f"p{i}": tile[partial.name] for i, partial in enumerate(view.partials)}
    if view.keeps_newest:
        places = zip((NEWEST_AT, *NEWEST_PLACE), (15, 5, 19), strict=True)
        place = "".join(f"{tile[name]:0{digits}}" for name, digits in places)
        values = {f"v{i}": tile[each.name] for i, each in enumerate(view.newest)}
        item["newest"] = place + orjson.dumps(values).decode()
    return item


def _decisions(end: int, every_ms: int, rows: Sequence[Mapping[str, object]]) -> bytes:
    items = [row for row in rows if end - every_ms <= int(str(row["at"])) < end]
    return orjson.dumps({"end": end, "rows": len(items), "unkeyed": 0, "decisions": items})


def _refused(
    store: Store, source: Source, dead: Sequence[Refused], late: Sequence[Refused]
) -> None:
    for table, rows in (("dead_letters", dead), ("late_rows", late)):
        known = [
            {"source": source.name, "topic": source.topic, "partition": row.partition}
            | {"offset": row.offset, "payload": row.payload}
            | ({"reason": row.reason} if table == "dead_letters" else {"at": 0, "watermark": 0})
            for row in rows
        ]
        if known:
            store.add(table, pa.Table.from_pylist(known), "")
