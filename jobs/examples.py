"""Decisions with their labels, as a learner would meet them: from a store, or from a file.

::

    store: predictions and decisions, each with its first label in time ─┐
    file:  Parquet with the same columns ────────────────────────────────┴─► Examples
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.jobs import assembly
from headrace.jobs.checks.served import Ask, served
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.operators.source import AT
from headrace.pipelines.pipeline import Pipeline

__all__ = ["Examples", "labelled", "of_file", "of_parts"]

_KEYS = ("seq", "at")
_LABELS = ("labelled", "label")


@dataclass(frozen=True, eq=False)
class Examples:
    """Decisions in order of time: `seq`, `at`, the model's inputs, `labelled` and `label`.

    The last two are null where no label came in time.

    Examples
    --------
    >>> rows = {"seq": [7, 8], "at": [10, 20], "labelled": [15, None], "label": [True, None]}
    >>> Examples(pa.table(rows)).facts["labels"]
    1
    """

    rows: pa.Table

    @property
    def facts(self) -> dict[str, Any]:
        """Say which they are: offsets, times and a sha256 of all columns."""
        rows = self.rows
        whole = hashlib.sha256()
        for name in sorted(rows.schema.names):
            whole.update(f"{name} {rows.schema.field(name).type}\n".encode())
            whole.update(_bytes(rows[name]))
        ends = {n: [rows[n][0].as_py(), rows[n][-1].as_py()] if len(rows) else [] for n in _KEYS}
        labels = rows.num_rows - rows["label"].null_count
        return {"rows": rows.num_rows, "labels": labels, **ends, "sha256": whole.hexdigest()}


def _bytes(column: pa.ChunkedArray) -> bytes:
    """Give a column's values and nulls, however it is cut into chunks."""
    nulls = np.packbits(column.is_null().to_numpy())
    if pa.types.is_string(column.type):
        filled = column.fill_null("").to_pylist()
        sizes = np.array([len(text) for text in filled], np.int64)
        return nulls.tobytes() + sizes.tobytes() + "".join(filled).encode()
    zero = pa.scalar(0).cast(column.type)
    return nulls.tobytes() + np.ascontiguousarray(column.fill_null(zero).to_numpy()).tobytes()


def of_parts(parts: Iterable[pa.Table], where: str) -> Examples:
    """Join the parts of a store's.

    Raises
    ------
    EnvironmentProblem
        Where there is none.
    """
    tables = list(parts)
    if not tables:
        asked, found = f"asked for the examples in {where}", "it has no prediction"
        raise EnvironmentProblem(asked, found, "run the pipeline until labels come")
    return Examples(pa.concat_tables(tables))


def labelled(pipeline: Pipeline, ask: Ask) -> Iterator[pa.Table]:
    """Read a store's predictions in parts, each with its first label in time.

    Predictions from before a feature was declared as it is now are left out: they lack it.
    """
    inputs = assembly.encoding(pipeline).inputs
    columns = [name for name in inputs if name in pipeline.decision.source.types]
    features = [name for name in inputs if name not in columns]
    for part in served(ask, features, ["seq", AT, *columns]):
        if part.num_rows and set(inputs).issubset(part.schema.names):
            yield _with_labels(part, ask, within_ms=pipeline.outcome.within_ms)


def _with_labels(part: pa.Table, ask: Ask, *, within_ms: int) -> pa.Table:
    first, last = part["seq"][0].as_py(), part["seq"][-1].as_py()
    labels = ask(
        "SELECT DISTINCT ON (seq) seq, e.at AS labelled, e.label "
        "FROM examples AS e JOIN decisions AS d USING (seq) "
        f"WHERE seq BETWEEN {first} AND {last} AND e.at BETWEEN d.at AND d.at + {within_ms} "
        "ORDER BY seq, e.at, e.label"
    )
    # The place of each row's label; null where it has none.
    place = np.searchsorted(labels["seq"].to_numpy(), part["seq"].to_numpy())
    found = pa.array(place, mask=~np.isin(part["seq"].to_numpy(), labels["seq"].to_numpy()))
    for name in _LABELS:
        part = part.append_column(name, labels[name].take(found))
    return part


def of_file(pipeline: Pipeline, path: Path) -> Examples:
    """Read a Parquet file of `at`, the model's inputs, `labelled` (ms) and `label`.

    Rows are put in order of `at`, equal ones as they stand. A label that came later than the
    pipeline's outcome may is none. `seq` is the row's place there.

    Raises
    ------
    HeadraceError
        Where it is no such file, or a label is earlier than its decision.
    """
    asked = f"asked for the examples in {path}"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise HeadraceError(asked, str(error).splitlines()[0], "give a Parquet file") from error
    types = {name: kind.arrow for name, kind in assembly.encoding(pipeline).inputs.items()}
    types |= {AT: pa.int64(), "labelled": pa.int64(), "label": pipeline.outcome.label.type.arrow}
    if missing := sorted(set(types) - set(table.schema.names)):
        found = f"it has no column {', '.join(map(repr, missing))}"
        raise HeadraceError(asked, found, "add it: the model learns from it")
    try:
        rows = table.select(list(types)).cast(pa.schema(list(types.items())))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        found = str(error).splitlines()[0]
        raise HeadraceError(asked, found, "write the types that the pipeline declares") from error
    return Examples(_in_order(rows, asked, pipeline.outcome.within_ms))


def _in_order(rows: pa.Table, asked: str, within_ms: int) -> pa.Table:
    if rows[AT].null_count:
        raise HeadraceError(asked, "a decision has no time", "give each its `at`")
    order = np.argsort(rows[AT].to_numpy(), kind="stable")
    rows = rows.take(pa.array(order))
    after = pc.subtract(rows["labelled"], rows[AT])
    if pc.any(pc.less(after, 0)).as_py():
        found = "a label is earlier than its decision"
        raise HeadraceError(asked, found, "leave it out: learning it would tell the future")
    counts = pc.and_(pc.less_equal(after, within_ms), rows["label"].is_valid()).fill_null(False)
    for name in _LABELS:
        i = rows.schema.get_field_index(name)
        rows = rows.set_column(i, name, pc.if_else(counts, rows[name], None))
    return rows.add_column(0, "seq", pa.array(np.arange(rows.num_rows)))
