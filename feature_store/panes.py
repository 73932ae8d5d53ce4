"""Reading panes: the messages of a view topic become Arrow tables of tiles.

A pane is ``{"end": e, "rows": n, "unkeyed": m, "tiles": […]}``, complete by construction; where
tiles have bins, these are lists ``"b0": […]``, … beside the tiles. Panes of a shard come in order;
one that is sent again, after a recovery, ends no later than the last seen, and says the same: it is
set aside for the store to compare.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from headrace.operators.aggregates import Bins, Ends
from headrace.operators.errors import CorruptError
from headrace.operators.view import END, PLACE_DIGITS, View

__all__ = ["FIRST", "Panes", "read_items", "read_tiles"]

FIRST = -(1 << 62)
"""Before every pane."""


@dataclass(frozen=True)
class Panes:
    """Some panes of one shard: their rows, flattened, and what they say of completeness.

    `more` has the items of further lists, or a view's companion rows, by their names; `again` the
    messages that were passed over, for their panes had been seen.
    """

    items: pa.Table
    end: int
    rows: int
    unkeyed: int
    more: Mapping[str, pa.Table] = field(default_factory=dict)
    again: Sequence[bytes] = ()


def read_items(
    messages: Sequence[bytes],
    after: int,
    *,
    name: str,
    item: pa.DataType,
    more: Mapping[str, pa.DataType] | None = None,
    partly: bool = False,
) -> Panes | None:
    """Parse panes whose items stand under `name`, passing over those that end at or before `after`.

    `item` is the items' struct type, `more` that of each further list; `partly` says that there are
    more fields than those. The column ``end`` is added. Where no pane is new the end is `after`;
    without messages it is None that is given.

    Raises
    ------
    CorruptError
        Where a message is no such pane.

    Examples
    --------
    >>> kind = pa.struct([("a", pa.int64())])
    >>> text = b'{"end": 60000, "rows": 2, "unkeyed": 0, "x": [{"a": 1}, {"a": 2}]}'
    >>> panes = read_items([text, text], 0, name="x", item=kind)
    >>> panes.items.to_pydict(), panes.end, panes.rows
    ({'a': [1, 2], 'end': [60000, 60000]}, 60000, 2)
    """
    counts = [(END, pa.int64()), ("rows", pa.int64()), ("unkeyed", pa.int64())]
    lists = {name: item, **(more or {})}
    schema = pa.schema([*counts, *((each, pa.list_(kind)) for each, kind in lists.items())])
    if not messages:
        return None
    asked = f"asked for panes with {name}: {item}"
    do = "look at who writes to the topic, and start over in a fresh state folder"
    try:
        table = _parse(messages, schema, unexpected="ignore" if partly else "error")
    except pa.ArrowInvalid as error:
        raise CorruptError(name, asked, str(error), do) from error
    if table.num_rows != len(messages):
        found = f"{len(messages)} messages hold {table.num_rows} objects"
        raise CorruptError(name, asked, found, do)
    if table[END].null_count:
        raise CorruptError(name, asked, "a pane does not say where it ends", do)
    ends = table[END].to_numpy()
    # The running maximum so far: a pane sent twice within one batch counts once, too.
    highest = np.maximum.accumulate(np.concatenate([[after], ends[:-1]])) if len(ends) else ends
    fresh = ends > highest
    again = [messages[i] for i in np.flatnonzero(~fresh)]
    table = table.filter(pa.array(fresh)).combine_chunks()
    items = {each: _flat(table, each, kind) for each, kind in lists.items()}
    total = {count: int(pc.sum(table[count]).as_py() or 0) for count in ("rows", "unkeyed")}
    end = max(after, int(ends.max()))
    return Panes(items.pop(name), end, total["rows"], total["unkeyed"], items, again)


def _flat(table: pa.Table, name: str, item: pa.DataType) -> pa.Table:
    """Give the items of a list of each pane, with their pane's end."""
    lists = table[name].combine_chunks()
    if not len(lists):
        return pa.schema([*item, (END, pa.int64())]).empty_table()
    parents = pc.list_parent_indices(lists)
    flat = pc.list_flatten(lists)
    columns = [flat.field(i) for i in range(item.num_fields)]
    names = [item.field(i).name for i in range(item.num_fields)]
    return pa.table([*columns, table[END].take(parents)], [*names, END])


def _parse(messages: Sequence[bytes], schema: pa.Schema, *, unexpected: str = "error") -> pa.Table:
    data = b"\n".join(messages)
    options = json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    form = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)
    return json.read_json(io.BytesIO(data), read_options=options, parse_options=form)


def _item_type(view: View) -> pa.DataType:
    fields = [(f"k{i}", kind.arrow) for i, kind in enumerate(view.key_types)]
    fields += [(f"p{i}", partial.type.arrow) for i, partial in enumerate(view.partials)]
    if view.keeps_newest:
        fields.append(("newest", pa.string()))
    fields += [(f"e{i}", pa.string()) for i in range(len(view.ends))]
    return pa.struct(fields)


def read_tiles(view: View, messages: Sequence[bytes], after: int) -> Panes | None:
    """Parse the panes of one shard of `view` into tiles with the columns of its tile schema.

    `Panes.more` has the companion rows, by the name of what they are.
    """
    keys = [(f"k{i}", kind.arrow) for i, kind in enumerate(view.key_types)]
    bins = {
        f"b{i}": pa.struct([*keys, ("b", each.type.arrow), ("n", pa.int64())])
        for i, each in enumerate(view.bins)
    }
    panes = read_items(messages, after, name="tiles", item=_item_type(view), more=bins)
    if panes is None:
        return None
    flat = panes.items
    columns = [flat[f"k{i}"] for i in range(len(view.key))]
    columns.append(flat[END])
    more = {
        each.name: _ends(view, each, columns, flat[f"e{i}"]) for i, each in enumerate(view.ends)
    }
    more |= {each.name: _bins(view, each, panes.more[f"b{i}"]) for i, each in enumerate(view.bins)}
    columns += [flat[f"p{i}"] for i in range(len(view.partials))]
    if view.keeps_newest:
        columns += _newest(view, flat["newest"].combine_chunks())
    tiles = pa.Table.from_arrays(columns, schema=view.tile_schema)
    return replace(panes, items=tiles, more=more)


def _bins(view: View, bins: Bins, flat: pa.Table) -> pa.Table:
    columns = [flat[name] for name in (*(f"k{i}" for i in range(len(view.key))), END, "b", "n")]
    return pa.Table.from_arrays(columns, schema=view.rows_schema(bins))


def _ends(
    view: View, ends: Ends, tile: Sequence[pa.ChunkedArray], texts: pa.ChunkedArray
) -> pa.Table:
    """Take the ends' texts apart: ``{"o": place, "v": value}``, with commas between them."""
    schema = view.rows_schema(ends)
    known = texts.combine_chunks().drop_null()
    if not len(known):
        return schema.empty_table()
    # One line for each tile: a line feed inside a value is written with a backslash.
    lines = [b'{"e":[' + text.encode() + b"]}" for text in known.to_pylist()]
    entry = pa.struct([("o", pa.string()), ("v", ends.type.arrow)])
    lists = _parse(lines, pa.schema([("e", pa.list_(entry))]))["e"].combine_chunks()
    tiles = np.flatnonzero(texts.is_valid().to_numpy())[pc.list_parent_indices(lists).to_numpy()]
    flat = pc.list_flatten(lists)
    columns = [column.take(pa.array(tiles)) for column in tile]
    columns += [*_place(flat.field("o"))[0], flat.field("v")]
    return pa.Table.from_arrays(columns, schema=schema)


def _place(texts: pa.Array) -> tuple[list[pa.Array], int]:
    """Take at, partition and offset from the beginning of texts; say where they end."""
    columns, start = [], 0
    for digits in PLACE_DIGITS:
        part = pc.utf8_slice_codeunits(texts, start, start + digits)
        columns.append(pc.cast(pc.utf8_ltrim(part, characters="0"), pa.string()))
        start += digits
    numbers = [pc.cast(pc.if_else(pc.equal(c, ""), "0", c), pa.int64()) for c in columns]
    return numbers, start


def _newest(view: View, texts: pa.Array) -> list[pa.Array]:
    """Take the newest rows' texts apart: time, place, values."""
    numbers, start = _place(texts)
    if not view.newest:
        return numbers
    schema = pa.schema([(f"v{i}", newest.type.arrow) for i, newest in enumerate(view.newest)])
    rest = pc.utf8_slice_codeunits(texts, start)
    if len(rest) == 0:
        return [*numbers, *(pa.array([], field.type) for field in schema)]
    lines = pc.binary_join(pa.array([rest.to_pylist()]), "\n")[0].as_py().encode()
    return [*numbers, *_parse([lines], schema).columns]
