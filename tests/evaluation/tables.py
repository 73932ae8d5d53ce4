r"""Tables of cases of scores: rows in, a value out, one file for each.

::

    ece {"bins": 10}                     what is made; a case may begin with its own

    # a bin that is off                  a case and its name
    p    | y => value                    what comes in, and what comes out
    0.25 | 0 => ~0.25
    0.25 | 1 =>

A cell is JSON; an empty one is a null. A value after `~` is right to 1e-6, any other to the bit.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

CASES = Path(__file__).parent.parent / "cases"


@dataclass(frozen=True)
class Case:
    """Columns, and the values that come of them."""

    name: str
    told: dict[str, object]
    columns: dict[str, list[object]]
    values: list[object]

    def agrees(self, found: list[object]) -> bool:
        """Say whether these are the values: to the bit, or to 1e-6."""
        wanted = [
            pytest.approx(float(value[1:]), abs=1e-6) if isinstance(value, str) else value
            for value in self.values
        ]
        exact = [i for i, value in enumerate(self.values) if not isinstance(value, str)]
        assert found == wanted
        return [repr(found[i]) for i in exact] == [repr(self.values[i]) for i in exact]


def read(path: Path) -> list[Case]:
    """Read a file of cases."""
    cases: list[Case] = []
    told, name, lines = "{}", "", list[str]()
    for line in [*path.read_text("utf-8").splitlines(), "#"]:
        if line.startswith("#"):
            if lines:
                cases.append(_case(name, told, lines))
            name, lines = line[1:].strip(), []
        elif line.startswith(path.stem):
            told = line.removeprefix(path.stem).strip() or "{}"
        elif line.strip():
            lines.append(line)
    names = Counter(case.name for case in cases)
    assert names
    assert max(names.values()) == 1
    return cases


def tables(folder: str) -> dict[str, list[Case]]:
    """Read all files of a folder."""
    found = {path.stem: read(path) for path in sorted((CASES / folder).glob("*.txt"))}
    assert found
    return found


def _case(name: str, told: str, lines: list[str]) -> Case:
    pairs = [[_cells(side) for side in line.split("=>")] for line in lines]
    names, _ = pairs[0]
    rows = [[json.loads(cell or "null") for cell in left] for left, _ in pairs[1:] if any(left)]
    columns = {key: [row[i] for row in rows] for i, key in enumerate(names)}
    values = [
        right[0] if right[0].startswith("~") else json.loads(right[0])
        for _, right in pairs[1:]
        if any(right)
    ]
    assert values
    return Case(name, json.loads(told), columns, values)


def _cells(side: str) -> list[str]:
    return [cell.strip() for cell in side.split("|")]
