"""Features computed of others: expressions over a decision's columns and the features at its time.

::

    sched, tail_arr_age_ms ─► "sched - at - tail_arr_age_ms" ─► slack_ms

They are row-wise: a stream has nothing to do for them, and every engine computes them of the same
values. Where a number leaves its type there is none: the value is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from headrace.operators.expression import Call, Column, Expression, range_checks
from headrace.operators.functions import Value

__all__ = ["columns_of", "computed_sql", "value_of", "with_computed"]


def with_computed(rows: pa.Table, trees: Mapping[str, Expression]) -> pa.Table:
    """Append a column for each expression, computed of the others.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> rows = pa.table({"n": [3, None, 2**62]})
    >>> with_computed(rows, {"more": parse("n * 4", {"n": Type.INT64})})["more"].to_pylist()
    [12, None, None]
    """
    names = list(dict.fromkeys(name for tree in trees.values() for name in columns_of(tree)))
    listed = [dict(zip(names, row, strict=True)) for row in _listed(rows, names)]
    for name, tree in trees.items():
        values = [value_of(tree, row) for row in listed]
        rows = rows.append_column(name, pa.array(values, tree.type.arrow))
    return rows


def computed_sql(tree: Expression) -> str:
    """Print the same for DuckDB, over a relation with the columns.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> computed_sql(parse("n", {"n": Type.INT64}))
    '"n"'
    """
    beyond = " OR ".join(f"({check}) IS FALSE" for check in range_checks(tree, "duckdb"))
    value = tree.sql("duckdb")
    return f"CASE WHEN {beyond} THEN NULL ELSE {value} END" if beyond else value


def columns_of(tree: Expression) -> Iterator[str]:
    """List the columns that an expression reads, each as often as it does.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> list(columns_of(parse("a + b - a", {"a": Type.INT64, "b": Type.INT64})))
    ['a', 'b', 'a']
    """
    if isinstance(tree, Column):
        yield tree.name
    elif isinstance(tree, Call):
        for argument in tree.arguments:
            yield from columns_of(argument)


def _listed(rows: pa.Table, names: list[str]) -> Iterator[tuple[Value, ...]]:
    if not names:
        return iter([()] * rows.num_rows)
    return zip(*(rows[name].to_pylist() for name in names), strict=True)


def value_of(tree: Expression, row: Mapping[str, Value]) -> Value:
    """Compute the value of one row.

    >>> from headrace.operators.expression import parse
    >>> from headrace.operators.types import Type
    >>> value_of(parse("n * 4", {"n": Type.INT64}), {"n": 3})
    12
    """
    try:
        return tree.of(row)
    except OverflowError:
        return None
