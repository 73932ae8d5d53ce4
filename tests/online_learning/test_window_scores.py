"""Scores by windows and slices: a slow scorer's values, told once, whatever the cuts and kills."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.online_learning import window_scores
from headrace.online_learning.learner import Learner
from headrace.online_learning.observer import Note, Seen
from headrace.online_learning.scores import result, scores
from headrace.online_learning.settings import LearningError
from headrace.online_learning.window_scores import WindowScores
from headrace.operators.errors import UnknownName
from tests.online_learning.made_up import SETTINGS, WITHIN
from tests.online_learning.test_learner import ANY_SIZES, LOG, Sizes, feed

EVERY = 5_500
TOLD = replace(SETTINGS, score_every_ms=EVERY, score_by=("city", "wet"))


class Book:
    """Keeps notes by their numbers, as the topic does: what comes again must be the same."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def __call__(self, notes: Sequence[Note], first: int) -> None:
        """Take notes from number `first` on."""
        assert first <= len(self.notes)
        again = list(notes)[: len(self.notes) - first]  # fewer at a time, maybe, than before
        assert self.notes[first : first + len(again)] == again
        self.notes += list(notes)[len(again) :]


def followed(folder: Path, book: Book, sizes: Sizes, steps: int | None = None) -> str:
    learner = Learner(TOLD, folder, book)
    try:
        feed(learner, sizes, steps=steps)
        return learner.digest()
    finally:
        learner.close()


@cache
def undisturbed() -> tuple[str, list[Note]]:
    with tempfile.TemporaryDirectory() as folder:
        book = Book()
        return followed(Path(folder), book, [(10_000, 10_000)]), book.notes


def test_each_window_is_scored_as_a_slow_scorer_does() -> None:
    digest, notes = undisturbed()
    assert len(digest) == 64
    with tempfile.TemporaryDirectory() as folder:
        learner = Learner(replace(TOLD, within_ms=10**9), Path(folder))  # forgets nothing
        feed(learner, [(10_000, 10_000)])
        given_of = learner._pending.rows["given"]
        learner.close()
    first: dict[int, dict[str, Any]] = {}
    for label in sorted(LOG.labelled, key=lambda x: (x["at"], x["partition"], x["offset"])):
        if 0 <= label["at"] - label["prediction"]["at"] <= WITHIN:
            first.setdefault(label["prediction"]["seq"], label)
    windows: dict[Any, list[tuple[float, float, bool]]] = defaultdict(list)
    for label in first.values():
        decision = label["prediction"]
        end = decision["at"] // EVERY * EVERY + EVERY
        told = {
            "city": "null" if decision["x"]["city"] is None else decision["x"]["city"],
            "wet": {True: "true", False: "false", None: "null"}[decision["x"]["wet"]],
        }
        for place in [(None, None), *told.items()]:
            windows[end, *place].append((given_of[decision["seq"]], decision["p"], label["label"]))
    through = max(label["at"] for label in LOG.labelled)
    expected = {}
    for place, rows in windows.items():
        if place[0] + WITHIN > through:
            continue
        _, served, y = (np.array(column, np.float64) for column in zip(*rows, strict=True))
        both = scores()
        both.update(served, y)
        said = result(both)
        expected[place] = (said["n"], said["positives"], said["auc"], said["ece"], said["log_loss"])
    assert len(expected) > 40
    names = ("window.n", "window.positives", *(f"window.served.{x}" for x in ("auc", "ece")))
    told_of: dict[Any, dict[str, float]] = defaultdict(dict)
    for note in (note for note in notes if note.name.startswith("window.")):
        told_of[note.at, note.slice_of, note.slice][note.name] = note.value
    for place, values in expected.items():
        found = told_of[place]
        assert tuple(found.get(name) for name in (*names, "window.served.log_loss")) == values
    cost = {place: x.get("window.staleness.log_loss") for place, x in told_of.items()}
    for place, value in cost.items():
        found = told_of[place]
        less = found["window.served.log_loss"] - found["window.prequential.log_loss"]
        assert value == less


def test_the_trainers_score_of_a_window_is_of_the_weights_before_each_decision() -> None:
    """All windows together are what the learner scores over every decision."""
    with tempfile.TemporaryDirectory() as folder:
        book = Book()
        learner = Learner(replace(TOLD, score_every_ms=10**12, score_by=()), Path(folder), book)
        feed(learner, [(10_000, 10_000)])
        status = learner.status()
        rows = learner._observers["windows"].state().arrays
        learner.close()
    assert {note.name for note in book.notes} == {"gate.verdict"}
    again = scores()
    again.update(rows["trainer"], rows["label"])
    assert result(again) == status["prequential_all"]
    assert status["staleness"]["auc"] == status["served"]["auc"] - status["prequential"]["auc"]


@given(sizes=ANY_SIZES, again=ANY_SIZES, steps=st.integers(0, 40))
@settings(max_examples=15, deadline=None)
def test_neither_cuts_nor_kills_change_what_is_told(sizes: Sizes, again: Sizes, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = Book()
        followed(Path(folder), book, sizes, steps)
        assert (followed(Path(folder), book, again), book.notes) == undisturbed()


def test_the_values_with_the_most_rows_have_slices_and_the_rest_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_scores, "MOST", 2)
    cities = ["c", "b", "b", "a", "c", "d", "e"]
    rows = {"decided": np.arange(7), "label": np.ones(7), "trainer": np.full(7, 0.5)}
    labels = {**rows, "served": rows["trainer"], "city": np.array(cities, object)}
    notes = WindowScores(100, 10, ("city",)).see(Seen(110, {}, labels))
    counts = {note.slice: note.value for note in notes if note.name == "window.n" and note.slice_of}
    assert counts == {"b": 2, "c": 2, None: 3}
    assert sum(counts.values()) == Counter(cities).total()


def test_a_window_is_told_when_its_last_label_is_due_and_not_before() -> None:
    windows = WindowScores(10, 5, ())
    one = {"decided": np.array([9]), "label": np.ones(1), "trainer": np.full(1, 0.5)}
    row = {**one, "served": one["trainer"]}
    none = {name: column[:0] for name, column in row.items()}
    assert windows.see(Seen(14, {}, row)) == []
    notes = windows.see(Seen(15, {}, none))
    assert {(note.at, note.due) for note in notes} == {(10, 15)}
    assert windows.see(Seen(1_000, {}, none)) == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"score_by": ("city",)}, "not how long they are"),
        ({"score_every_ms": 0}, "of no length"),
        ({"score_every_ms": 5, "score_by": ("delay",)}, "'delay' is float64"),
    ],
)
def test_windows_that_cannot_be_are_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(LearningError, match=says):
        replace(SETTINGS, **more)


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(UnknownName, match="'town'"):
        replace(SETTINGS, score_every_ms=5, score_by=("town",))


def test_windows_are_part_of_what_is_learned() -> None:
    digests = {each.digest for each in (SETTINGS, TOLD, replace(TOLD, score_every_ms=EVERY + 1))}
    assert len(digests) == 3
