"""The examples of a search, cut by time and encoded once for all trials.

::

    │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │ 8 │  held back  │     time ──►
      what chooses, in parts             what judges
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.jobs.examples import Examples
from headrace.online_learning.encoding import Encoder
from headrace.online_learning.models.model import Inputs
from headrace.online_learning.settings import Encoding
from headrace.operators.errors import EnvironmentProblem
from headrace.operators.source import AT

__all__ = ["PARTS", "Part", "Parts", "cut"]

PARTS = 8
"""Of what chooses: a trial may end after each 1, 2, 4 of them."""
HELD_BACK = 0.25
_FEWEST_LABELS = 100


@dataclass(frozen=True, eq=False)
class Part:
    """Some decisions, and what they are encoded to."""

    rows: pa.Table
    inputs: Inputs


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts that choose, and the last one, whose decisions are from `held_from_ms` on."""

    choosing: tuple[Part, ...]
    held_back: Part
    held_from_ms: int


def cut(examples: Examples, encoding: Encoding, *, deep: bool) -> Parts:
    """Cut examples; decisions of one instant stay together where the held-back ones begin.

    Raises
    ------
    EnvironmentProblem
        Where labels are too few, or all alike, before or after the cut.
    """
    rows = examples.rows
    at = rows[AT].to_numpy()
    place = int(len(at) * (1 - HELD_BACK))
    place = int(np.searchsorted(at, at[place], side="left")) if len(at) else 0
    for name, part in (("to choose by", rows.slice(0, place)), ("to judge by", rows.slice(place))):
        _check(name, part["label"])
    encoder = Encoder(encoding)
    ends = [place * i // PARTS for i in range(PARTS + 1)]
    tables = [rows.slice(a, b - a) for a, b in pairwise(ends)]
    *choosing, held = (Part(t, encoder.inputs(t, deep=deep)) for t in (*tables, rows.slice(place)))
    return Parts(tuple(choosing), held, int(at[place]))


def _check(what: str, labels: pa.ChunkedArray) -> None:
    known = len(labels) - labels.null_count
    asked = f"asked for examples {what}"
    if known < _FEWEST_LABELS:
        do = "let the pipeline run for longer"
        raise EnvironmentProblem(asked, f"{known} of {len(labels)} decisions have a label", do)
    if pc.count_distinct(labels.drop_null()).as_py() == 1:
        raise EnvironmentProblem(asked, "their labels are all alike", "take a longer log")
