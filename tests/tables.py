r"""Tables of cases: rows in, answers out, one file for each aggregate.

::

    mean(x int64) over 20ms, every 10ms, lateness 5ms     the feature, with its columns' types; a
                                                          case may begin with its own

    # nulls are skipped                                    a case and its name
    at | x    => at | y                                    what comes in, and what is asked
    1  | 1    => 10 | 2.0
    5  | null =>
    9  | 3    =>

A cell is JSON, as it stands in the message; an empty one is a column that the message lacks. `at`
is in milliseconds. Columns that may be left out: `p`, the partition (0); `k`, the key ("a"). The
rows of a partition have offsets in their order; the answer is asked for at `at`, the key in `k`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from headrace.operators.engines.in_process import Message
from headrace.operators.source import Column, Source
from headrace.operators.types import Type
from headrace.operators.view import Feature, View
from headrace.pipelines.feature import parse
from headrace.pipelines.hidden import with_hidden
from headrace.pipelines.values import duration
from tests.engines import Ask

CASES = Path(__file__).with_name("cases")
_HEAD = re.compile(
    r"(?P<feature>\w+\(.*\)(?: (?:over|within) \d+ms)?)"
    r", every (?P<every>\d+)ms, lateness (?P<lateness>\d+)ms"
)
_TYPED = re.compile(r"\b([a-z]\w*) (bool|int64|float64|string)\b")


@dataclass(frozen=True)
class Case:
    """Messages, and what is asked of a view after them."""

    name: str
    view: View
    log: tuple[Message, ...]
    asks: tuple[Ask, ...]
    answers: tuple[object, ...]


def read(path: Path) -> list[Case]:
    """Read a file of cases."""
    cases: list[Case] = []
    feature, name, lines = "", "", list[str]()
    for line in [*path.read_text("utf-8").splitlines(), "#"]:
        if line.startswith("#"):
            if lines:
                cases.append(_case(name, feature, lines))
            name, lines = line[1:].strip(), []
        elif _HEAD.fullmatch(line):
            feature = line
        elif line.strip():
            lines.append(line)
    names = Counter(case.name for case in cases)
    assert names
    assert max(names.values()) == 1
    return cases


def _case(name: str, feature: str, lines: list[str]) -> Case:
    view = _view(feature)
    pairs = [[_cells(side) for side in line.split("=>")] for line in lines]
    ins, outs = pairs[0]
    offsets: Counter[int] = Counter()
    log: list[Message] = []
    asks: list[Ask] = []
    answers: list[object] = []
    for left, right in pairs[1:]:
        if left:
            row = dict(zip(ins, left, strict=True))
            partition = int(row.pop("p", "0"))
            fields = {"k": '"a"', **{key: cell for key, cell in row.items() if cell}}
            payload = "{" + ", ".join(f'"{key}": {cell}' for key, cell in fields.items()) + "}"
            log.append((partition, offsets[partition], 0, payload.encode()))
            offsets[partition] += 1
        if right:
            ask = {"k": '"a"', **dict(zip(outs, right, strict=True))}
            asks.append(((json.loads(ask["k"]),), int(ask["at"])))
            answers.append(json.loads(ask["y"]))
    assert asks
    return Case(name, view, tuple(log), tuple(asks), tuple(answers))


def _cells(side: str) -> list[str]:
    cells = [cell.strip() for cell in side.split("|")]
    return cells if any(cells) else []


def _view(text: str) -> View:
    match = _HEAD.fullmatch(text)
    assert match is not None
    typed = {"k": "string", "x": "int64", **dict(_TYPED.findall(match["feature"]))}
    columns = tuple(Column(name, Type(kind)) for name, kind in typed.items())
    source = Source("events", "events", columns, lateness_ms=int(match["lateness"]))
    asked = parse(_TYPED.sub(r"\1", match["feature"]), source)
    window = None if asked.window is None else duration(asked.window)
    feature = Feature("y", asked.aggregate, window)
    source = with_hidden(source, [("y", name, tree) for name, tree in asked.hidden.items()])
    return View("v", source, ("k",), int(match["every"]), (feature,))
