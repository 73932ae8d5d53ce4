"""Columns looked up in a static table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headrace.operators.event import Event
from headrace.operators.functions import Value
from headrace.operators.streams.operator import Dialect, Step, Types, with_values
from headrace.operators.types import Type

__all__ = ["MOST_BYTES", "MOST_ROWS", "PART", "ROW", "Join", "Table"]

MOST_ROWS, MOST_BYTES = 5_000, 512 * 1024
"""Of a table: all of it is in the text of the stream's SQL, each time that it is read."""
ROW, PART = "\x1e", "\x1f"
"""What stands before a row and after each of its parts; no text of a table has them."""
_BUCKET_BYTES = 1_500


@dataclass(frozen=True)
class Table:
    """A small table that does not change: of each row its key's parts, then its columns.

    Parameters
    ----------
    name
        What it is called in errors: its file.
    columns
        The columns that it gives, by the names that they get.
    rows
        Key to the values of the columns, in their order. No part of a key is null.

    """

    name: str
    columns: Mapping[str, Type]
    rows: Mapping[tuple[Value, ...], tuple[Value, ...]]

    @cached_property
    def digest(self) -> str:
        """Give the sha256 of what it says, whatever the order of its rows."""
        said = sorted(repr(row) for row in self.rows.items())
        return hashlib.sha256("\n".join(said).encode()).hexdigest()

    @cached_property
    def texts(self) -> dict[str, str]:
        """Give each row's text by its key's: a value after a bar, null as nothing."""
        return {
            "".join(f"{_text(part)}{PART}" for part in key): "".join(
                f"{PART}{'' if value is None else f'|{_text(value)}'}" for value in values
            )
            for key, values in self.rows.items()
        }


@dataclass(frozen=True)
class Join(Step):
    """Add a table's columns to each row, by the key that stands in the columns `on`.

    Where the table has no such key, or a part of it is null, they are null; no row is dropped.

    The stream finds a key in the text of one bucket of the table, chosen by a hash: it keeps no
    state, and the rows keep their time (a join of Flink's would take it). So a table is small.

    >>> table = Table("airports", {"lat": Type.FLOAT64}, {("JFK",): (40.6,), ("LGA",): (None,)})
    >>> rows = [Event(0, 0, {"at": 1, "dest": dest}) for dest in ("JFK", "LGA", "XXX", None)]
    >>> [row.values["lat"] for row in Join(table, ("dest",)).of(rows)]
    [40.6, None, None, None]
    """

    name = "join"
    table: Table
    on: tuple[str, ...]

    def types(self, given: Types) -> dict[str, Type]:
        """Give the columns, and those of the table."""
        return {**given, **self.table.columns}

    def made_of(self) -> dict[str, set[str]]:
        """Name the key, by which the table's columns are looked up."""
        return {name: set(self.on) for name in self.table.columns}

    def sql(self, rows: str, given: Types, dialect: Dialect) -> str:
        """Print a left join, or what stands for one in the stream."""
        print_ = self._looked_up if dialect.engine == "flink" else self._joined
        return print_(rows, given, dialect)

    def of(self, rows: Sequence[Event]) -> list[Event]:
        """Look each row's key up."""
        nothing = (None,) * len(self.table.columns)
        found = []
        for row in rows:
            key = tuple(row.values[name] for name in self.on)
            values = nothing if None in key else self.table.rows.get(key, nothing)
            found.append(with_values(row, dict(zip(self.table.columns, values, strict=True))))
        return found

    def _joined(self, rows: str, given: Types, dialect: Dialect) -> str:
        kinds = [*(given[name] for name in self.on), *self.table.columns.values()]
        keys = [f"_k{i}" for i in range(len(self.on))]
        names = [*keys, *map(dialect.quote, self.table.columns)]
        values = ", ".join(
            f"({', '.join(map(_literal, (*key, *row)))})" for key, row in self.table.rows.items()
        )
        typed = ", ".join(
            f"CAST({name} AS {kind.duckdb}) AS {name}"
            for name, kind in zip(names, kinds, strict=True)
        )
        nulls = ", ".join("NULL" for _ in names)
        table = (
            f"SELECT {typed} FROM (VALUES {values or f'({nulls})'}) AS t({', '.join(names)}) "
            f"WHERE _k0 IS NOT NULL"
        )
        pairs = zip(map(dialect.quote, self.on), keys, strict=True)
        same = " AND ".join(f"{mine} = {theirs}" for mine, theirs in pairs)
        columns = dialect.columns(self.types(given))
        return f"SELECT {columns} FROM {rows} LEFT JOIN ({table}) ON {same}"

    def _looked_up(self, rows: str, given: Types, dialect: Dialect) -> str:
        columns = dialect.columns(given)
        key = self._key_sql(given, dialect)
        found = [
            f"{_value_sql(i + 1, kind)} AS {dialect.quote(name)}"
            for i, (name, kind) in enumerate(self.table.columns.items())
        ]
        # A row begins after its key, which stands after a row's mark.
        begins = f"POSITION(CONCAT('{ROW}', _key) IN _bucket)"
        row = (
            f"CASE WHEN {begins} > 0 THEN SPLIT_INDEX("
            f"SUBSTRING(_bucket, {begins} + 1 + CHAR_LENGTH(_key)), '{ROW}', 0) END"
        )
        return (
            f"SELECT {columns}, {', '.join(found)} FROM (SELECT {columns}, {row} AS _row "
            f"FROM (SELECT {columns}, _key, {self._bucket_sql()} AS _bucket "
            f"FROM (SELECT {columns}, {key} AS _key FROM {rows})))"
        )

    def _key_sql(self, given: Types, dialect: Dialect) -> str:
        """Print the key's text; null where a part is, or has a character that no key has."""
        texts, odd = [], []
        for name in self.on:
            quoted, kind = dialect.quote(name), given[name]
            if kind is Type.STRING:
                odd += [f"POSITION('{mark}' IN {quoted}) > 0" for mark in (ROW, PART)]
            elif kind is Type.BOOL:
                quoted = f"CASE {quoted} WHEN TRUE THEN 'true' WHEN FALSE THEN 'false' END"
            else:
                quoted = f"CAST({quoted} AS STRING)"
            texts.append(f"{quoted} || '{PART}'")
        key = " || ".join(texts)
        return f"CASE WHEN NOT ({' OR '.join(odd)}) THEN {key} END" if odd else key

    def _bucket_sql(self) -> str:
        buckets: dict[int, list[str]] = {}
        size = sum(len(key) + len(row) + 1 for key, row in self.table.texts.items())
        count = 1
        while count < 4096 and count * _BUCKET_BYTES < size:
            count *= 2
        for key, row in self.table.texts.items():
            digits = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:3]
            buckets.setdefault(int(digits, 16) * count // 4096, []).append(f"{ROW}{key}{row}")
        texts = ["".join(buckets.get(i, [])) for i in range(count)]
        return _chosen(texts, 0, 4096 // count)


def _chosen(texts: Sequence[str], first: int, width: int) -> str:
    """Print the choice of a text by the first digits of the key's hash, by halves."""
    if not texts[1:]:
        return "'" + texts[0].replace("'", "''") + "'"
    half = len(texts) // 2
    bound = f"{(first + half) * width:03x}"
    low, high = _chosen(texts[:half], first, width), _chosen(texts[half:], first + half, width)
    return f"CASE WHEN SUBSTRING(MD5(_key), 1, 3) < '{bound}' THEN {low} ELSE {high} END"


def _value_sql(place: int, kind: Type) -> str:
    said = f"SPLIT_INDEX(_row, '{PART}', {place})"
    value = f"CASE WHEN {said} <> '' THEN SUBSTRING({said}, 2) END"
    if kind is Type.BOOL:
        return f"({value} = 'true')"
    return value if kind is Type.STRING else f"CAST({value} AS {kind.flink})"


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else f"'{_text(value)}'"
