"""The scores of each window of event time, all its rows together and by the values of columns.

::

    begin ──── decisions ────► end ──── their labels may come ────► end + within: told, once

A window's rows are kept until then, so that who has a slice of its own is who has most rows in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import Kind, State
from headrace.online_learning.observer import Note, Seen, named, texts
from headrace.online_learning.scores import result, rows, scores, staleness
from headrace.online_learning.waiting import Columns

__all__ = ["MOST", "WindowScores"]

MOST = 20
"""How many values of a column have a slice of their own in a window."""
_TOLD = ("auc", "log_loss", "calibration", "ece", "rmse", "mae", "bias", "pinball")
_COUNTS = ("n", "positives")
_NUMBERS = ("decided", "label", "trainer", "served")


class WindowScores:
    """Scores what was decided in each window [begin, begin + every), when its last label is due.

    It tells `window.n`, `window.positives`, the trainer's and the served score as
    `window.prequential.auc` and so on, and their difference as `window.staleness.log_loss`. Of a
    column the `MOST` values with the most rows have slices, of equally many the first by name; all
    others have one together. A window without labels is not told of.

    Parameters
    ----------
    every_ms
        The length of a window.
    within_ms
        How long after its decision a label counts.
    by
        The columns, of texts.
    kind
        Of the model: what is scored, and how; probabilities unless given.

    Examples
    --------
    >>> windows = WindowScores(10, 5, ())
    >>> rows = {"decided": [3, 7, 12], "label": [1.0, 0.0, 1.0], "trainer": [0.9, 0.2, 0.5]}
    >>> labels = {name: np.array(column) for name, column in rows.items()}
    >>> told = windows.see(Seen(15, {}, {**labels, "served": labels["trainer"]}))
    >>> [(note.at, note.name, note.value) for note in told][:3]
    [(10, 'window.n', 2.0), (10, 'window.positives', 1.0), (10, 'window.prequential.auc', 1.0)]
    """

    def __init__(
        self, every_ms: int, within_ms: int, by: Sequence[str], kind: Kind | None = None
    ) -> None:
        told = ("positives", *_TOLD, *(("accuracy",) if kind and kind.task == "class" else ()))
        self._kind, self._blank = kind, scores(kind, told)
        self._every, self._within, self._by = every_ms, within_ms, tuple(by)
        said, whole = (kind or Logistic()).room(0), np.empty(0, np.int64)
        none = {"decided": whole, "label": np.empty(0), "trainer": said, "served": said}
        self._empty: Columns = none | {name: np.empty(0, object) for name in self._by}
        self._parts: list[Columns] = []
        self._oldest: int | None = None

    def see(self, seen: Seen) -> list[Note]:
        """Take in labels; tell the windows of which no label can come any more."""
        if len(seen.labels["decided"]):
            self._keep({name: seen.labels[name] for name in self._empty})
        notes: list[Note] = []
        while self._oldest is not None and self._due(self._oldest) <= seen.until:
            rows = self._whole()
            inside = self._begins(rows) == self._oldest
            notes += self._told(self._oldest, _some(rows, inside))
            self._parts, self._oldest = [], None
            if not inside.all():
                self._keep(_some(rows, ~inside))
        return notes

    def state(self) -> State:
        """Give the rows that are kept, in the order in which they came."""
        rows = self._whole()
        said = {name: texts(rows[name]) for name in self._by}
        arrays = {name: rows[name] for name in _NUMBERS}
        arrays |= {f"by/{name}": state.arrays["codes"] for name, state in said.items()}
        return State(arrays, {name: state.facts["names"] for name, state in said.items()})

    def restore(self, state: State) -> None:
        """Take them up."""
        rows = {name: state.arrays[name].copy() for name in _NUMBERS}
        for name in self._by:
            codes = {"codes": state.arrays[f"by/{name}"]}
            rows[name] = named(State(codes, {"names": state.facts[name]}))
        if len(rows["decided"]):
            self._keep(rows)

    def _keep(self, rows: Columns) -> None:
        first = int(self._begins(rows).min())
        self._oldest = first if self._oldest is None else min(first, self._oldest)
        self._parts.append(rows)

    def _whole(self) -> Columns:
        parts = [self._empty, *self._parts]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._empty}

    def _begins(self, rows: Columns) -> NDArray[np.int64]:
        begins: NDArray[np.int64] = rows["decided"] // self._every * self._every
        return begins

    def _due(self, begin: int) -> int:
        return begin + self._every + self._within

    def _told(self, begin: int, rows: Columns) -> Iterator[Note]:
        everything = np.ones(len(rows["decided"]), np.bool_)
        numbers = {name: rows[name] for name in _NUMBERS}
        slices: list[tuple[str | None, str | None, NDArray[np.bool_]]] = [(None, None, everything)]
        for column in self._by:
            slices += [(column, value, inside) for value, inside in _slices(rows[column])]
        for of, value, inside in slices:
            for name, score in self._scored(_some(numbers, inside)).items():
                at, told = begin + self._every, f"window.{name}"
                yield Note(self._due(begin), at, told, float(score), of, value)

    def _scored(self, told: Columns) -> dict[str, Any]:
        """Score the trainer and what was served; what does not exist is left out."""
        both = {"prequential": self._blank.blank(), "served": self._blank.blank()}
        for name, source in (("prequential", "trainer"), ("served", "served")):
            both[name].add(rows(self._kind, told[source], told["label"]))
        found = {name: result(each) for name, each in both.items()}
        counts = [name for name in found["served"] if name.rpartition(".")[2] in _COUNTS]
        said = {name: found["served"][name] for name in counts}
        for score, values in found.items():
            said |= {f"{score}.{name}": x for name, x in values.items() if name not in counts}
        costs = staleness(found["prequential"], found["served"])
        said |= {f"staleness.{name}": value for name, value in costs.items()}
        return {name: value for name, value in said.items() if value is not None}


def _slices(column: NDArray[Any]) -> Iterator[tuple[str | None, NDArray[np.bool_]]]:
    """Give the values with the most rows, and last, under None, all others."""
    state = texts(column)
    codes, names = state.arrays["codes"], state.facts["names"]
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda code: (-int(counts[code]), names[code]))
    for code in order[:MOST]:
        yield names[code], codes == code
    if len(order) > MOST:
        yield None, ~np.isin(codes, order[:MOST])


def _some(rows: Columns, inside: NDArray[np.bool_]) -> Columns:
    return {name: column[inside] for name, column in rows.items()}
