"""Provisional negatives: a plain loop's weights, whatever the cuts and kills; and no bias."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.batched import Hybrid
from headrace.online_learning.models.ftrl import advance, blank
from headrace.online_learning.models.linear import Logistic, Squared
from headrace.online_learning.models.model import PREDICT
from headrace.online_learning.moments import Moments
from headrace.online_learning.provisional import GIVEN, Learned, _cut
from headrace.online_learning.scores import result, scores
from headrace.online_learning.settings import Encoding, Ftrl, LearningError, Token
from headrace.online_learning.stepping import columns, course
from headrace.operators.types import Type
from tests.online_learning.made_up import ENCODING, FTRL, SETTINGS, WITHIN
from tests.online_learning.test_learner import ANY_SIZES, LOG, Sizes, feed, learning

AFTER = 5_000  # as some outcomes in the log, to the ms
TOLD = replace(SETTINGS, negative_after_ms=AFTER, score_every_ms=5_500, score_by=("wet",))


@cache
def undisturbed() -> tuple[str, dict[str, Any]]:
    return at_once(TOLD)


def at_once(told: Learning) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, learning(Path(folder), told) as learner:
        feed(learner, [(10_000, 10_000)])
        return learner.digest(), learner.status()


def test_it_learns_and_scores_as_a_plain_loop(tmp_path: Path) -> None:
    """Of events sorted by time: decisions, outcomes, negatives that are due, what is final."""
    events = [(d["at"], 0, d["seq"], 0, d) for d in LOG.decided]
    events += [(x["at"], 1, x["partition"], x["offset"], x) for x in LOG.labelled]
    events += [(d["at"] + AFTER, 2, d["seq"], 0, d) for d in LOG.decided]
    events += [(d["at"] + WITHIN, 3, d["seq"], 0, d) for d in LOG.decided]
    with learning(tmp_path, TOLD) as learner:
        feed(learner, [(10_000, 10_000)])
        status, arrays = learner.status(), learner._snapshot().arrays
    through = status["through_ms"]
    types = pa.schema([(name, kind.arrow) for name, kind in ENCODING.inputs.items()])
    x = pa.Table.from_pylist([d["x"] for d in LOG.decided], schema=types)
    slots, state = Encoder(ENCODING).encode(x), blank(ENCODING.slots)

    def step(seq: int, label: float) -> float:
        return float(advance(state, slots, np.array([seq]), np.array([label]), FTRL)[0][0])

    given_of: dict[int, float] = {}
    logged: dict[int, float] = {}
    known: dict[int, float] = {}
    rate: list[float] = []
    rates: dict[int, float] = {}
    taken = 0
    for at, kind, *_, event in sorted(events, key=lambda event: event[:4]):
        decision = event["prediction"] if kind == 1 else event
        seq = decision["seq"]
        if kind == 0:
            given_of[seq] = step(seq, PREDICT)
            rates[seq] = sum(rate) / len(rate) if rate else 0.5
        if kind == 1 and 0 <= at - decision["at"] <= WITHIN and seq not in known:
            known[seq] = float(event["label"])
            rate.append(known[seq])
            if seq not in logged:
                step(seq, known[seq])
            elif known[seq]:
                step(seq, 1.0 + logged[seq])
                taken += 1
        if kind == 2 and seq not in known and at < through:
            logged[seq] = step(seq, 0.0)
        if kind == 3 and seq not in known and at < through:
            known[seq] = 0.0
            rate.append(0.0)
    assert (status["provisional"], status["taken_back"]) == (len(logged), taken)
    assert min(taken, len(logged) - taken) > 20
    touched = np.flatnonzero(state.any(axis=1))
    assert np.array_equal(arrays["model/ids"], touched)
    assert np.array_equal(arrays["model/zr"], state[touched])
    assert len(known) == len(LOG.decided) > status["examples"]
    start = SETTINGS.score_from_ms or 0
    said = {"prequential": given_of, "served": {d["seq"]: d["p"] for d in LOG.decided}}
    for name, ps in said.items():
        both = scores()
        seqs = [seq for seq in known if LOG.decided[seq]["at"] >= start]
        both.update([ps[seq] for seq in seqs], [known[seq] for seq in seqs])
        assert status[name] == result(both)
    both = scores()
    seqs = [seq for seq in known if LOG.decided[seq]["at"] >= start]
    both.update([rates[seq] for seq in seqs], [known[seq] for seq in seqs])
    assert status["rivals"]["base_rate"] == result(both)


def test_a_positive_is_in_another_part_than_its_negative() -> None:
    cuts = np.empty(3, np.int64)
    # The negatives at 0 and 2, and one before this step; the second positive's is since the cut.
    assert _cut(np.array([2, 3, 5]), np.array([0, 2, -1]), cuts) == 2
    assert cuts[:2].tolist() == [2, 3]
    assert _cut(np.array([2, 3]), np.array([0, 1]), cuts) == 1


def test_a_row_that_is_taken_back_counts_once_in_the_moments() -> None:
    encoding = replace(ENCODING, numbers=("delay",))
    told, moments = replace(SETTINGS, encoding=encoding), Moments(1)
    table = pa.table({"city": ["a"], "hour": [1], "delay": [4.0], "wet": [True]})
    inputs = columns(Encoder(encoding).inputs(table), np.zeros(2, np.int64))
    labels = {"at": np.array([1, 2]), "seq": np.zeros(2, np.int64), "label": np.array([0.0, 1.0])}
    labels |= {**inputs, "again": np.array([False, True]), "back": np.array([[0.0], [0.5]])}
    none = {"at": np.empty(0, np.int64), **{name: column[:0] for name, column in inputs.items()}}
    both, steps = course(told, moments, none, labels)
    told.model.blank(encoding).advance(both, steps.of(0))
    assert moments.state[0, :2].tolist() == [1.0, 4.0]


@given(sizes=ANY_SIZES, again=ANY_SIZES, steps=st.integers(0, 40))
@settings(max_examples=15, deadline=None)
def test_neither_cuts_nor_kills_change_anything(sizes: Sizes, again: Sizes, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with learning(Path(folder), TOLD) as learner:
            feed(learner, sizes, steps=steps)
        with learning(Path(folder), TOLD) as learner:
            feed(learner, again)
            assert (learner.digest(), learner.status()) == undisturbed()


def test_a_model_that_begins_anew_has_nothing_to_take_back(tmp_path: Path) -> None:
    with learning(tmp_path, TOLD) as learner:
        feed(learner, [(40, 6)], steps=5)
        assert not np.isnan(learner._pending.rows[GIVEN]).all()
        learner._begin_anew()
        assert np.isnan(learner._pending.rows[GIVEN]).all()
        taken = learner.status()["taken_back"]
        feed(learner, [(10_000, 10_000)])
        assert taken < learner.status()["taken_back"] < undisturbed()[1]["taken_back"]


def test_the_hybrid_takes_back_too(tmp_path: Path) -> None:
    told = replace(TOLD, model=Hybrid(ftrl=FTRL, batch=16, width=4, device="cpu"))
    with learning(tmp_path, told) as learner:
        feed(learner, [(13, 5)], steps=9)
    with learning(tmp_path, told) as learner:
        feed(learner, [(21, 3)])
        assert (learner.digest(), learner.status()) == at_once(told)
        assert learner.status()["taken_back"] > 20


def stream(rng: np.random.Generator, decisions: int) -> tuple[list[bytes], list[bytes], float]:
    """Make decisions, 10 a second, a fifth of them positive; half of the positives come late."""
    at = 1_000_000 + np.arange(decisions) * 100
    positive = rng.random(decisions) < 0.2
    delay = rng.exponential(AFTER / np.log(2), decisions).astype(int)
    rows = [
        {"seq": i, "id": "", "at": int(t), "x": {"wet": True}, "p": 0.5, "version": 0}
        for i, t in enumerate(at)
    ]
    panes: dict[int, list[dict[str, Any]]] = {}
    for i in np.flatnonzero(positive & (delay <= WITHIN)).tolist():
        came = int(at[i] + delay[i])
        row = {"at": came, "partition": 0, "offset": i, "label": True, "prediction": rows[i]}
        panes.setdefault(came // 1000, []).append(row)
    last = int(at[-1]) + 2 * WITHIN
    ends = range(1_000, last // 1000 + 1)
    examples = [{"end": (e + 1) * 1000, "examples": panes.get(e, [])} for e in ends]
    messages = [*rows, {"seq": decisions - 1, "through": last}]
    share = float((positive & (delay <= WITHIN)).mean())
    return [orjson.dumps(m) for m in messages], [orjson.dumps(e) for e in examples], share


def calibration(folder: Path, told: Learning, decisions: list[bytes], panes: list[bytes]) -> float:
    with learning(folder, told) as learner:
        learner.predictions(decisions, len(decisions))
        learner.examples(panes, len(panes))
        learner.advance()
        return float(learner.status()["prequential"]["calibration"])


def test_what_is_predicted_is_right_only_where_negatives_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without, of q positives that all were negatives before, q / (1 + q) is what is learned."""
    encoding = Encoding({"wet": Type.BOOL}, {}, (Token(("wet",)),), slots=8, bias=False)
    model = Logistic(Ftrl(alpha=0.05, l2=0.0))
    told = replace(SETTINGS, encoding=encoding, model=model, publish_every_ms=10**9)
    told = replace(told, score_from_ms=2_000_000, negative_after_ms=1)
    decisions, panes, share = stream(np.random.default_rng(3), 20_000)
    assert calibration(tmp_path / "right", told, decisions, panes) == pytest.approx(1, abs=0.05)
    monkeypatch.setattr(Learned, "parts", whole)
    wrong = calibration(tmp_path / "wrong", told, decisions, panes)
    assert wrong == pytest.approx(1 / (1 + share), abs=0.05)
    assert share == pytest.approx(0.2, abs=0.02)


def whole(self: Learned, decisions: Any, _: object) -> Iterator[tuple[slice, slice]]:
    """Cut nothing, and take nothing back."""
    self.labels["label"][self.labels["again"]] = 1.0
    self.labels["again"][:] = False
    yield slice(0, len(decisions["at"])), slice(0, len(self.labels["at"]))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"negative_after_ms": 0}, "more than 0"),
        ({"negative_after_ms": WITHIN}, "give less than that"),
        ({"negative_after_ms": 5, "negatives": 0.5}, "a share of negatives"),
        ({"negative_after_ms": 5, "encoding": replace(ENCODING, weight="hour")}, "a weight"),
        ({"negative_after_ms": 5, "model": Squared()}, "'linear' has no negatives"),
    ],
)
def test_what_could_not_be_taken_back_is_refused(more: dict[str, Any], says: str) -> None:
    with pytest.raises(LearningError, match=says):
        replace(SETTINGS, **more)
