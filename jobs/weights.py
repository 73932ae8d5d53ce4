"""A version's arrays as rows: every number with the place that it has."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa

from headrace.online_learning.models.model import Arrays

__all__ = ["weights_of"]

_OWN_NAME = re.compile("[^/.]+$")
_WEIGHTS = pa.schema(
    [
        ("version", pa.int64()),
        ("name", pa.string()),
        ("slot", pa.int64()),
        ("part", pa.int64()),
        ("value", pa.float64()),
    ]
)


def weights_of(version: int, arrays: Arrays) -> pa.Table:
    """Give a version's arrays: their names, places and values.

    The slots of ``wide/weights`` are those in ``wide/ids``; without such they are the places.
    """
    tables = [_WEIGHTS.empty_table()]
    for name, array in arrays.items():
        ids = arrays.get(_OWN_NAME.sub("ids", name))
        if array is ids or array.ndim not in (1, 2):
            continue
        rows = array.reshape(len(array), math.prod(array.shape[1:]))
        slots = ids if ids is not None and len(ids) == len(rows) else np.arange(len(rows))
        columns = {
            "version": np.full(rows.size, version),
            "name": pa.repeat(name, rows.size),
            "slot": np.repeat(slots, rows.shape[1]),
            "part": np.tile(np.arange(rows.shape[1]), len(rows)),
            "value": rows.ravel().astype(np.float64),
        }
        tables.append(pa.table(columns, _WEIGHTS))
    return pa.concat_tables(tables)
