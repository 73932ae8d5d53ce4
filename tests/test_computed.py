"""Features computed of others: the same in process and in DuckDB, served as they are recomputed."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from headrace.operators.computed import computed_sql, with_computed
from headrace.operators.expression import parse
from headrace.operators.types import Type

ROWS = pa.table(
    {
        "n": pa.array([0, 1, -1, None, 2**63 - 1, -(2**63)], pa.int64()),
        "x": pa.array([0.0, 1.5, None, -0.0, 1e308, -1e308], pa.float64()),
        "s": pa.array(["7", "a", None, "", "9223372036854775808", "-1"], pa.string()),
    }
)
TYPES = {"n": Type.INT64, "x": Type.FLOAT64, "s": Type.STRING}
CASES = {
    "n + 1": [1, 2, 0, None, None, -(2**63) + 1],
    "-n": [0, -1, 1, None, -(2**63) + 1, None],
    "n / x": [None, 1 / 1.5, None, None, (2**63 - 1) / 1e308, -(2**63) / -1e308],
    "x * 10": [0.0, 15.0, None, 0.0, None, None],
    "CAST(s AS BIGINT)": [7, None, None, None, None, -1],
    "COALESCE(x, 0) > 1": [False, True, False, False, True, False],
    "n": [0, 1, -1, None, 2**63 - 1, -(2**63)],
    "s || 'a'": ["7a", "aa", None, "a", "9223372036854775808a", "-1a"],
}


@pytest.mark.parametrize("text", CASES)
def test_it_is_null_where_a_number_leaves_its_type_in_both_engines(text: str) -> None:
    tree = parse(text, TYPES)
    found = with_computed(ROWS, {"y": tree})["y"].to_pylist()
    assert found == CASES[text]
    with duckdb.connect() as connection:
        connection.register("given", ROWS)
        query = f"SELECT {computed_sql(tree)} AS y FROM given"
        assert connection.sql(query).to_arrow_table()["y"].to_pylist() == found


def test_of_no_rows_it_has_its_type() -> None:
    none = with_computed(ROWS.slice(0, 0), {"y": parse("n / 2", TYPES)})
    assert none.schema.field("y").type == pa.float64()
