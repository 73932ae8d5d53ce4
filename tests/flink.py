"""Expressions computed by a real Flink, on columns that it reads from a file.

On columns, for Flink computes what has none when it plans, by other code; from a file, for a job
through Kafka costs a minute, and the views job's own test has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from headrace.operators.expression import Expression
from headrace.operators.functions import Value
from headrace.operators.types import Type
from tests import flink_process
from tests.formulas import BEYOND, refused

AT_ONCE = 40
"""Expressions in one sink: Flink makes one Java class of them."""


def by_flink(
    trees: Sequence[Expression],
    columns: Mapping[str, Type],
    rows: Sequence[Mapping[str, Value]],
    folder: Path,
) -> list[list[Value]]:
    """Compute every expression on every row in one Flink job: by row, by expression."""
    (folder / "rows").mkdir()
    lines = (json.dumps({"n": n, **row}) + "\n" for n, row in enumerate(rows))
    (folder / "rows" / "rows.json").write_text("".join(lines), "utf-8")
    statements = [_rows(columns, folder)]
    inserts = []
    parts = range(0, len(trees), AT_ONCE)
    for part in parts:
        chosen = dict(enumerate(trees[part : part + AT_ONCE], start=part))
        made = ", ".join(f"e{n} {tree.type.flink}, f{n} BOOLEAN" for n, tree in chosen.items())
        statements.append(
            f"CREATE TABLE `made{part}` (n BIGINT, {made}) {_files(folder / f'made{part}')}"
        )
        values = ", ".join(
            f"{tree.sql('flink')}, {refused(tree, 'flink')}" for tree in chosen.values()
        )
        inserts.append(f"INSERT INTO `made{part}` SELECT n, {values} FROM `rows`")
    flink_process.run(statements, inserts, folder)
    found: list[list[Value]] = [[None] * len(trees) for _ in rows]
    for part in parts:
        for path in (folder / f"made{part}").iterdir():
            for line in path.read_text("utf-8").split("\n"):
                if line:
                    _take(json.loads(line), found, range(part, min(part + AT_ONCE, len(trees))))
    return found


def plan(trees: Sequence[Expression], columns: Mapping[str, Type], folder: Path) -> str:
    """Say what Flink's planner makes of expressions, each a value of one row."""
    query = f"SELECT {', '.join(tree.sql('flink') for tree in trees)} FROM `rows`"
    explained = flink_process.plan([_rows(columns, folder)], query, folder)
    return explained.partition("== Optimized Physical Plan ==")[2]


def _rows(columns: Mapping[str, Type], folder: Path) -> str:
    kinds = ", ".join(f"`{name}` {kind.flink}" for name, kind in columns.items())
    return f"CREATE TABLE `rows` (n BIGINT, {kinds}) {_files(folder / 'rows')}"


def _take(line: Mapping[str, Value], found: list[list[Value]], places: range) -> None:
    n = line["n"]
    assert isinstance(n, int)
    for place in places:
        found[n][place] = BEYOND if line.get(f"f{place}") else line.get(f"e{place}")


def _files(folder: Path) -> str:
    return f"WITH ('connector' = 'filesystem', 'path' = '{folder.as_uri()}', 'format' = 'json')"
