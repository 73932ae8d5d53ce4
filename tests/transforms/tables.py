r"""Tables of cases of the transforms: rows in, rows out.

::

    advance standard(x int64; every_ms=10)     how, the transform, its columns; its settings as JSON

    # nulls are null                           a case and its name; it may begin with its own line
    at | x    => x_standard                    what comes in, and the outputs that are looked at
    1  | 1    => null
    11 | null =>

`advance` gives every row to `advance`; a row without outputs is not looked at. With `fit` the rows
without outputs are learned, and those with outputs are transformed by all of that. A cell is JSON.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from headrace.operators.transforms import Transform, declared_as
from headrace.operators.types import Type

__all__ = ["CASES", "Case", "read", "table"]

CASES = Path(__file__).parent.parent / "cases" / "transforms"
_HEAD = re.compile(r"(advance|fit) (\w+)\(([^;)]*)(?:; (.*))?\)")


@dataclass(frozen=True)
class Case:
    """What is learned, what is asked and what is expected."""

    name: str
    fits: bool
    declared: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    outputs: tuple[dict[str, Any] | None, ...]


def table(transform: Transform, rows: list[dict[str, Any]]) -> pa.Table:
    """Make rows of Arrow of what a transform takes, and `at`."""
    kinds = {"at": Type.INT64, **transform.inputs}
    names = [name for name in kinds if not rows or name in rows[0]]
    columns = [pa.array([row[name] for row in rows], kinds[name].arrow) for name in names]
    return pa.Table.from_arrays(columns, names=names)


def read(path: Path) -> list[Case]:
    """Read a file of cases."""
    cases: list[Case] = []
    head, name, lines = "", "", list[str]()
    for line in [*path.read_text("utf-8").splitlines(), "#"]:
        if line.startswith("#"):
            if lines:
                cases.append(_case(name, head, lines))
            name, lines = line[1:].strip(), []
        elif _HEAD.fullmatch(line):
            head = line
        elif line.strip():
            lines.append(line)
    assert cases
    assert len({case.name for case in cases}) == len(cases)
    return cases


def _case(name: str, head: str, lines: list[str]) -> Case:
    match = _HEAD.fullmatch(head)
    assert match is not None
    columns = [column.split() for column in match[3].split(", ")]
    declared: dict[str, Any] = {"transform": match[2], "column": columns[0][0]}
    declared["kind"] = columns[0][1]
    if match[2] == "cross":
        del declared["column"], declared["kind"]
        declared["columns"], declared["kinds"] = map(list, zip(*columns, strict=True))
    for setting in (match[4] or "").split(", "):
        if setting:
            key, _, cell = setting.partition("=")
            declared[key] = json.loads(cell)
    transform = declared_as(declared)
    pairs = [[_cells(side) for side in line.split("=>")] for line in lines]
    ins, outs = pairs[0]
    assert set(outs) <= set(transform.outputs), transform.outputs
    rows = tuple(dict(zip(ins, left, strict=True)) for left, _ in pairs[1:])
    outputs = tuple(
        dict(zip(outs, right, strict=True)) if right else None for _, right in pairs[1:]
    )
    return Case(
        name,
        match[1] == "fit",
        declared,
        tuple(map(_loaded, rows)),
        tuple(None if output is None else _loaded(output) for output in outputs),
    )


def _loaded(cells: dict[str, str]) -> dict[str, Any]:
    return {name: json.loads(cell) for name, cell in cells.items()}


def _cells(side: str) -> list[str]:
    cells = [cell.strip() for cell in side.split(" | ")]
    return cells if any(cells) else []
