"""Drift and what is done about it: found in so many, cuts and kills change nothing, actions act."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.online_learning.drift_watch import DriftWatch
from headrace.online_learning.learner import Learner
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.batched import DcnV2, Hybrid
from headrace.online_learning.models.ftrl import weights
from headrace.online_learning.models.linear import Logistic, Squared
from headrace.online_learning.moments import Moments
from headrace.online_learning.observer import Note, Seen
from headrace.online_learning.settings import Encoding, Ftrl, LearningError, Token
from headrace.online_learning.watching import Action, Watching
from headrace.operators.errors import UnknownName
from headrace.operators.types import Type
from tests.online_learning.made_up import Log
from tests.online_learning.test_learner import Sizes, feed
from tests.online_learning.test_window_scores import Book

ENCODING = Encoding(
    inputs={"city": Type.STRING, "hour": Type.INT64, "x": Type.FLOAT64},
    buckets={"x": (0.25, 0.5, 0.75)},
    tokens=(Token(("city",)), Token(("hour",)), Token(("x",)), Token(("city", "hour"))),
    slots=1 << 16,
    bias=True,
    numbers=("x",),
)
EVERY = 100_000
RAISE = Action("raise_rate", 3.0, 150_000)
WATCHING = Watching(
    loss=(Action("alert"), RAISE, Action("promote")),
    fields={"city": (Action("alert"), Action("reset")), "hour": (), "x": (Action("reset"),)},
)
TOLD = Learning(
    encoding=ENCODING,
    model=Logistic(Ftrl(alpha=0.1)),
    publish_every_ms=EVERY,
    keep=2,
    score_from_ms=None,
    within_ms=20_000,
    every_ms=1_000,
    watching=WATCHING,
)
COUNT, SHIFT = 6_000, 3_000
STARTS = 1_000_000


@cache
def stream(shift: bool = True, seed: int = 5) -> Log:
    """Make decisions, 10 a second, whose labels come after 3 s.

    With a shift the label turns about, and so do the cities, at number `SHIFT`.
    """
    rng = np.random.default_rng(seed)
    decided: list[dict[str, Any]] = []
    panes: dict[int, list[dict[str, Any]]] = {}
    for seq in range(COUNT):
        moved = shift and seq >= SHIFT
        city = rng.choice(["a", "b", "c", "d"], p=[0.1, 0.2, 0.3, 0.4] if moved else [0.25] * 4)
        hour = int(rng.integers(6))
        x = {"city": str(city), "hour": hour, "x": float(rng.random())}
        at = STARTS + seq * 100
        one = {"seq": seq, "id": "", "at": at, "x": x, "p": 0.5, "version": 0}
        decided.append(one)
        label = bool(rng.random() < (0.9 if (hour < 3) != moved else 0.1))
        row = {"at": at + 3_000, "partition": 0, "offset": seq, "label": label, "prediction": one}
        panes.setdefault((at + 3_000) // 1_000, []).append(row)
    last = STARTS + COUNT * 100 + 30_000
    ends = range(STARTS // 1_000, last // 1_000)
    examples = [orjson.dumps({"end": (e + 1) * 1_000, "examples": panes.get(e, [])}) for e in ends]
    predictions = []
    for seq, one in enumerate(decided):
        predictions.append(orjson.dumps(one))
        if seq % 50 == 49:  # all before the next one is complete
            through = STARTS + (seq + 1) * 100
            predictions.append(orjson.dumps({"seq": seq, "through": through}))
    predictions.append(orjson.dumps({"seq": COUNT - 1, "through": last}))
    return Log(predictions, examples, decided, [])


def followed(
    folder: Path,
    book: Book,
    sizes: Sizes,
    log: Log,
    steps: int | None = None,
    told: Learning = TOLD,
) -> tuple[str, dict[str, Any]]:
    learner = Learner(told, folder, book)
    try:
        feed(learner, sizes, log, steps=steps)
        return learner.digest(), learner.status()
    finally:
        learner.close()


@cache
def undisturbed() -> tuple[tuple[str, dict[str, Any]], list[Note]]:
    with tempfile.TemporaryDirectory() as folder:
        book = Book()
        return followed(Path(folder), book, [(10_000, 10_000)], stream()), book.notes


def named(notes: Sequence[Note], name: str, field: str | None = None) -> list[Note]:
    return [note for note in notes if note.name == name and note.slice_of == field]


def test_a_shift_is_found_within_so_many_rows_and_acted_on_from_the_next_version() -> None:
    _, notes = undisturbed()
    shifted = STARTS + SHIFT * 100
    loss, city = named(notes, "drift.loss"), named(notes, "drift.field", "city")
    for alarms, rows in ((loss, 100), (city, 1_000)):
        assert shifted <= alarms[0].at <= shifted + rows * 100
    assert loss[0].value > 0.5
    assert "the loss rose from" in str(loss[0].cause)
    assert loss[0].alert
    assert city[0].alert
    assert not [note for note in notes if note.slice_of in ("hour", "x")]
    begins = (loss[0].at // EVERY + 1) * EVERY
    raised, promoted = named(notes, "drift.raise_rate"), named(notes, "drift.promote")
    assert (raised[0].at, raised[0].value, raised[0].cause) == (begins, 3.0, loss[0].cause)
    assert promoted[0].at == begins
    reset = named(notes, "drift.reset", "city")
    assert reset[0].at == (city[0].at // EVERY + 1) * EVERY
    assert reset[0].value == len({"a", "b", "c", "d"}) * (1 + 6)  # its own, and its crosses'
    assert [note.due for note in notes] == sorted(note.due for note in notes)
    # One alarm of a signal between two versions.
    assert len({note.at // EVERY for note in city}) == len(city)


def test_a_still_stream_rings_seldom() -> None:
    """Of five streams of 6,000 rows, each looked at 187 times by 4 signals: one alarm at most."""
    alarms = 0
    for seed in range(5):
        with tempfile.TemporaryDirectory() as folder:
            book = Book()
            followed(Path(folder), book, [(10_000, 10_000)], stream(shift=False, seed=seed))
            alarms += sum(note.name in ("drift.loss", "drift.field") for note in book.notes)
    assert alarms <= 1


@given(
    sizes=st.lists(st.tuples(st.integers(50, 900), st.integers(5, 90)), min_size=1, max_size=6),
    steps=st.integers(2, 12),
)
@example(sizes=[(330, 32)], steps=10)  # saved between an alarm and its actions
@example(sizes=[(450, 43)], steps=10)  # and while the rate is raised
@settings(max_examples=5, deadline=None)
def test_neither_cuts_nor_kills_change_anything(sizes: Sizes, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book = Book()
        followed(Path(folder), book, sizes, stream(), steps)
        assert (followed(Path(folder), book, sizes, stream()), book.notes) == undisturbed()


def test_the_rate_is_raised_for_its_time_and_no_longer() -> None:
    watch = DriftWatch(Watching(loss=(RAISE,)), ENCODING, EVERY)
    model, moments = TOLD.model.blank(ENCODING), Moments(1)
    lost = {"at": np.arange(2_000), "label": np.ones(2_000), "trainer": np.full(2_000, 0.9)}
    lost["trainer"][1_000:] = 0.05
    notes = watch.see(Seen(2_000, {"at": np.empty(0)}, lost))
    assert len(notes) == 1
    labels = {"at": np.array([EVERY - 1]), "weights": np.ones(1)}
    assert watch.weighed(labels)["weights"].tolist() == [1.0]
    assert [note.name for note in watch.act(EVERY, model, moments)] == ["drift.raise_rate"]
    at = np.array([EVERY, EVERY + RAISE.for_ms - 1, EVERY + RAISE.for_ms])
    assert watch.weighed({"at": at, "weights": np.array([1.0, 2.0, 1.0])})["weights"].tolist() == [
        *(3.0, 6.0, 1.0)
    ]
    assert watch.act(2 * EVERY, model, moments) == []


def test_actions_begin_in_the_order_of_their_alarms() -> None:
    promote = (Action("promote"),)
    watch = DriftWatch(Watching(loss=promote, fields={"city": promote}), ENCODING, EVERY)
    at = np.arange(4_000)
    slots = np.zeros((4_000, 5), np.int32)
    slots[1_000:, 0] = 7
    lost = {"at": at, "label": np.ones(4_000), "trainer": np.where(at < 3_000, 0.9, 0.05)}
    notes = watch.see(Seen(4_000, {"at": at, "slots": slots}, lost))
    assert [note.slice_of for note in notes] == [None, "city"]
    acted = watch.act(EVERY, TOLD.model.blank(ENCODING), Moments(1))
    assert [note.slice_of for note in acted] == ["city", None]


def test_a_raised_rate_learns_faster_what_has_changed() -> None:
    """The learner's loss after the shift is lower with it than without."""
    found = {}
    for name, loss in (("raised", (RAISE,)), ("alone", ())):
        told = replace(TOLD, watching=Watching(loss=loss), publish_every_ms=10_000)
        told = replace(told, score_from_ms=STARTS + (SHIFT + 200) * 100)
        with tempfile.TemporaryDirectory() as folder:
            _, status = followed(Path(folder), Book(), [(10_000, 10_000)], stream(), told=told)
        found[name] = status["prequential"]["log_loss"]
    assert found["raised"] < found["alone"] - 0.01


@pytest.mark.parametrize("kind", [Logistic(), Hybrid(width=2, batch=512, device="cpu")])
def test_a_reset_keeps_weights_and_forgets_the_fields_accumulators_alone(kind: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = replace(TOLD, model=kind, watching=None)
        learner = Learner(told, Path(folder))
        feed(learner, [(10_000, 10_000)], stream())
        model, moments = learner._model, learner._moments
        learner.close()
    linear: Any = getattr(model, "wide", None) or model
    before, now = linear.zr.copy(), weights(linear.zr, linear.kind.ftrl)
    counted = moments.state.copy()
    watch = DriftWatch(Watching(fields={"x": (Action("reset"),)}), ENCODING, EVERY)
    rng = np.random.default_rng(1)
    seen = np.flatnonzero(before[: ENCODING.slots, 1] > 0)
    own = rng.choice(seen, 4, replace=False)
    slots = np.zeros((4_000, 5), np.int32)
    slots[:, 2] = own[np.repeat([0, 1, 2, 3], 1_000)]
    at = np.arange(4_000)
    none = {"at": np.empty(0)}
    assert len(watch.see(Seen(4_000, {"at": at, "slots": slots}, none))) == 1
    restored = DriftWatch(Watching(fields={"x": (Action("reset"),)}), ENCODING, EVERY)
    restored.restore(watch.state())
    notes = restored.act(EVERY, model, moments)
    assert [(note.name, note.value) for note in notes] == [("drift.reset", 4.0)]
    reset = np.append(own, ENCODING.slots)  # and its weight as a number
    others = np.setdiff1d(np.arange(len(before)), reset)
    assert np.array_equal(linear.zr[others], before[others])
    assert (linear.zr[reset, 1] == 0).all()
    assert (before[reset, 1] > 0).all()
    assert np.allclose(weights(linear.zr, linear.kind.ftrl), now, rtol=1e-12, atol=0)
    assert counted[0, 0] > moments.state[0, 0] == 30
    assert moments.state[0, 1] == counted[0, 1]
    deviation = [np.sqrt(state[0, 2] / state[0, 0]) for state in (moments.state, counted)]
    assert deviation[0] == pytest.approx(deviation[1])


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Watching(delta=0.0), "how likely"),
        (lambda: Watching(loss=(Action("reset"),)), "of no field"),
        (lambda: Action("raise_rate", 1.0, 5), "no rise"),
        (lambda: Action.read("raise_rate 3x"), "known: alert"),
        (lambda: Action.read("alert", 5), "known: alert"),
        (lambda: replace(TOLD, negative_after_ms=5), "could not be taken back"),
        (lambda: replace(TOLD, model=DcnV2()), "no weights of a field's own"),
        (lambda: replace(TOLD, model=Squared()), "gives no probability"),
    ],
)
def test_what_cannot_be_is_refused(made: Any, says: str) -> None:
    with pytest.raises(LearningError, match=says):
        made()


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(UnknownName, match="'town'"):
        replace(TOLD, watching=Watching(fields={"town": ()}))
    with pytest.raises(UnknownName, match=r"'city\*hour'"):  # a cross is of two
        replace(TOLD, watching=Watching(fields={ENCODING.tokens[3].name: ()}))
