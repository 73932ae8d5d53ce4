"""Verdicts: what is promoted, what is held and why, when it goes back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import orjson
import pytest

from headrace.online_learning.gate import COMPARED, Gate
from headrace.online_learning.models.model import State
from headrace.online_learning.settings import LearningError
from headrace.online_learning.verdict import Limits, Verdict

RATE = 0.25
GOOD = 0.25
LEAST = 100


class Told:
    """A gate, and labels of rate `RATE` for it, version after version."""

    def __init__(self, limits: Limits | None = None, seed: int = 3) -> None:
        self.gate = Gate(Limits(least=LEAST) if limits is None else limits)
        self.version = 0
        self.random = np.random.default_rng(seed)

    def labels(
        self,
        count: int,
        candidate: float,
        champion: float = GOOD,
        previous: float = GOOD,
        **more: float,
    ) -> None:
        """Let labels come, of decisions of now unless `decided` says otherwise."""
        y = (self.random.random(count) < more.get("rate", RATE)).astype(float)
        base = more.get("base", 0.5)
        said = np.tile([candidate, champion, previous, base], (count, 1))
        self.gate.learn(said, y, np.full(count, int(more.get("decided", self.version)) * 1_000))

    def judge(self, wrong: str | None = None, size_bytes: int = 0) -> Verdict:
        """Make a version."""
        self.version += 1
        now = self.version * 1_000
        return self.gate.judge(self.version, through_ms=now, wrong=wrong, size_bytes=size_bytes)


def begun(limits: Limits | None = None) -> Told:
    """Give a gate with two versions that were promoted, of a model better than the base rate."""
    told = Told(limits)
    assert told.judge().verdict == "promoted"
    told.labels(500, GOOD)
    assert told.judge().champion == 2
    return told


def test_what_is_not_shown_worse_is_promoted() -> None:
    told = begun()
    told.labels(300, 0.26)
    verdict = told.judge()
    assert (verdict.verdict, verdict.champion, verdict.previous) == ("promoted", 3, 2)
    assert (verdict.causes, verdict.labels, verdict.paired) == ({}, 300, 300)


def test_what_is_within_the_tolerance_is_promoted() -> None:
    told = begun(Limits(least=LEAST, tolerance=0.3))
    told.labels(2_000, 0.6)
    assert "worse_than_champion" not in told.judge().causes


def test_what_is_shown_worse_is_held_with_the_numbers() -> None:
    told = begun()
    told.labels(300, 0.6)
    verdict = told.judge()
    assert (verdict.verdict, verdict.champion, verdict.previous) == ("held", 2, 1)
    assert set(verdict.causes) >= {"worse_than_champion", "worse_than_previous"}
    said = verdict.causes["worse_than_champion"]
    assert "on 300 labels, that of version 2, the champion" in said
    assert verdict.log_loss["candidate"] > verdict.log_loss["champion"] + 0.1


def test_too_few_labels_wait_and_count_on() -> None:
    told = begun()
    told.labels(60, 0.6)
    verdict = told.judge()
    assert (verdict.verdict, verdict.champion) == ("waits", 2)
    assert verdict.causes == {"too_few_labels": "there are 60 of 100 labels"}
    told.labels(240, 0.6)
    verdict = told.judge()
    assert (verdict.verdict, verdict.labels) == ("held", 300)


def test_after_one_was_held_the_next_must_have_stood_beside_the_champion() -> None:
    told = begun()
    told.labels(300, 0.6)
    assert told.judge().verdict == "held"
    told.labels(300, GOOD, decided=1)  # labels of decisions from before there was this champion
    assert told.judge().causes == {"too_few_labels": "there are 0 of 100 labels beside version 2"}
    told.labels(300, GOOD)
    assert told.judge().champion == 5


def test_after_one_was_held_the_next_must_be_as_good_on_average() -> None:
    told = begun()
    told.labels(300, 0.6)
    assert told.judge().verdict == "held"
    told.labels(120, 0.35)
    verdict = told.judge()
    assert (verdict.verdict, set(verdict.causes)) == ("held", {"still_worse"})
    told.labels(120, GOOD + 0.001)
    assert told.judge().verdict == "promoted"


def test_a_champion_that_is_shown_worse_gives_way_to_the_one_before() -> None:
    told = begun()
    told.labels(300, candidate=0.6, champion=0.6, previous=GOOD)
    verdict = told.judge()
    assert (verdict.verdict, verdict.champion, verdict.previous) == ("rolled_back", 1, None)
    assert set(verdict.causes) >= {"worse_than_previous", "champion_worse_than_previous"}
    assert "that of version 1, the one before" in verdict.causes["champion_worse_than_previous"]
    told.labels(300, GOOD)
    assert told.judge().verdict == "promoted"


def test_a_champion_that_is_shown_worse_gives_way_to_a_candidate_that_is_not() -> None:
    told = begun()
    told.labels(300, candidate=GOOD, champion=0.6, previous=GOOD)
    assert told.judge().champion == 3


def surprised(told: Told, count: int = 300) -> Verdict:
    """Let labels come that are turned, and that the candidate has learned."""
    told.labels(count, candidate=0.7, champion=0.2, previous=0.22, base=0.4, rate=0.8)
    return told.judge()


def test_labels_that_turn_are_seen_though_the_candidate_is_good_at_them() -> None:
    told = begun()
    verdict = surprised(told)
    assert (verdict.verdict, verdict.champion) == ("held", 2)
    assert "champion_worse_than_base_rate" in verdict.causes
    assert "worse_than_champion" not in verdict.causes
    # The one before was better at them, and that is no reason to go back.
    assert verdict.evidence["champion_worse_than_previous"] > 5


def test_if_it_stays_so_the_world_has_changed() -> None:
    told = begun(Limits(least=LEAST, patience=3))
    verdicts = [surprised(told).verdict for _ in range(5)]
    assert verdicts[:4] == ["held", "held", "held", "promoted"]


def test_a_run_within_a_block_is_seen() -> None:
    told = begun()
    told.labels(1_000, GOOD, base=0.4)
    told.labels(80, candidate=0.3, champion=0.2, previous=0.2, base=0.4, rate=0.9)
    told.labels(1_000, GOOD, base=0.4)
    assert "champion_worse_than_base_rate" in told.judge().causes


@pytest.mark.parametrize(
    ("rate", "cause"), [(0.0, "champion_says_too_much"), (0.9, "champion_says_too_little")]
)
def test_a_run_of_labels_that_nobody_expects_is_seen(rate: float, cause: str) -> None:
    told = begun()
    told.labels(400, GOOD, base=0.2)
    told.labels(250, candidate=rate, champion=0.25, previous=0.25, base=0.2, rate=rate)
    verdict = told.judge()
    assert verdict.verdict == "held"
    assert cause in verdict.causes


@pytest.mark.parametrize(("says", "cause"), [(0.7, "says_too_much"), (0.08, "says_too_little")])
def test_a_candidate_that_is_not_calibrated_is_held(says: float, cause: str) -> None:
    told = begun(Limits(least=LEAST, tolerance=10.0, calibration=2.0))
    told.labels(600, says)
    verdict = told.judge()
    assert (verdict.verdict, set(verdict.causes)) == ("held", {cause})


def test_before_the_model_was_better_than_the_base_rate_there_is_nothing_to_protect() -> None:
    told = Told()
    told.judge()
    told.labels(300, candidate=0.6, champion=0.7, base=0.25)
    verdict = told.judge()
    assert verdict.verdict == "promoted"
    assert verdict.evidence["champion_worse_than_base_rate"] > 10


def test_what_is_not_finite_or_too_large_is_held_whatever_the_evidence() -> None:
    told = begun(Limits(most_bytes=1_000))
    told.labels(300, GOOD)
    verdict = told.judge(wrong="a number in 'weights' is not finite", size_bytes=1_001)
    assert (verdict.verdict, verdict.champion) == ("held", 2)
    assert verdict.causes == {
        "not_finite": "a number in 'weights' is not finite",
        "too_large": "it has 1,001 bytes, and may have 1,000",
    }


def test_without_limits_only_what_is_not_finite_is_held() -> None:
    gate = Gate(None)
    assert gate.judge(1, through_ms=0).champion == 1
    gate.learn(np.full((5, 4), 0.9), np.zeros(5), np.zeros(5, np.int64))
    assert gate.judge(2, through_ms=0).champion == 2
    assert gate.judge(3, through_ms=0, wrong="it is none").champion == 2


def test_a_state_goes_on_to_the_bit_and_is_words_of_json() -> None:
    whole, parts = begun(), begun()
    for told in (whole, parts):
        told.labels(130, 0.4)
    state = parts.gate.state()
    facts = orjson.loads(orjson.dumps(dict(state.facts)))
    parts.gate = Gate(parts.gate.limits)
    parts.gate.restore(State({k: v.copy() for k, v in state.arrays.items()}, facts))
    for _ in range(3):
        for told in (whole, parts):
            told.labels(130, 0.4)
        assert whole.judge() == parts.judge()
    assert whole.gate.status() == parts.gate.status()


def test_the_status_counts_verdicts_and_causes() -> None:
    told = begun()
    told.labels(300, 0.6)
    told.judge()
    status = told.gate.status()
    assert (status["champion"], status["promoted"], status["held"]) == (2, 2, 1)
    assert status["cause.worse_than_champion"] == 1
    assert {f"evidence.{name}" for name in COMPARED} <= set(status)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tolerance", lambda: Limits(tolerance=-1.0)),
        ("alpha", lambda: Limits(alpha=1.0)),
        ("least", lambda: Limits(least=0)),
        ("calibration", lambda: Limits(calibration=1.0)),
        ("patience", lambda: Limits(patience=-1)),
        ("most_bytes", lambda: Limits(most_bytes=0)),
    ],
)
def test_limits_that_cannot_be_are_refused(name: str, make: Callable[[], Limits]) -> None:
    with pytest.raises(LearningError, match=f"the limit {name}"):
        make()
