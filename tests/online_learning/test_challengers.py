"""Challengers on the stream: who is better leads, who is not does not, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.online_learning import learning
from headrace.online_learning.challengers import Challenge, Challengers
from headrace.online_learning.learner import Learner, registry
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.batched import Hybrid
from headrace.online_learning.models.linear import Logistic, Squared
from headrace.online_learning.models.model import Kind, Model
from headrace.online_learning.observer import Note
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Ftrl, LearningError
from headrace.online_learning.snapshot import Snapshot
from headrace.online_learning.verdict import Limits
from headrace.online_learning.watching import Action, Watching
from tests.online_learning import spoilt
from tests.online_learning.made_up import FTRL, SETTINGS, log
from tests.online_learning.model_laws import crashes_lose_nothing
from tests.online_learning.test_learner import Sizes, feed
from tests.online_learning.test_robustness import Breaking
from tests.online_learning.test_window_scores import Book

HYBRID = Hybrid(
    ftrl=FTRL, width=2, hidden=(4,), cross_layers=1, cross_rank=2, batch=16, device="cpu"
)


def rate(alpha: float) -> Logistic:
    return Logistic(Ftrl(alpha=alpha))


def told(model: Kind, *beside: Kind, halve_after: int = 1 << 30, **others: Any) -> Learning:
    challenge = Challenge(beside, halve_after)
    return replace(spoilt.TOLD, model=model, challenge=challenge, **others)


def followed(
    folder: Path, settings: Learning, spoil: spoilt.Spoil | None = None
) -> tuple[dict[str, Any], list[Note]]:
    """Learn the made-up log; give the status and what was told."""
    book = Book()
    learner = Learner(settings, folder, book)
    try:
        feed(learner, [(610, 10)], spoilt.log(spoil))
        return learner.status(), book.notes
    finally:
        learner.close()


def named(notes: Sequence[Note], name: str) -> list[Note]:
    return [note for note in notes if note.name == name]


def test_who_is_better_leads_is_published_and_is_promoted_by_the_gate(tmp_path: Path) -> None:
    settings = told(rate(1e-5), rate(1e-4), HYBRID)
    status, notes = followed(tmp_path, settings)
    (took,) = named(notes, "challenger.leads")
    assert took.value == 2
    assert "that of 0, which led, 0.6" in str(took.cause)
    places = {number: each["place"] for number, each in status["challengers"].items()}
    assert places == {"0": "learns", "1": "learns", "2": "leads"}
    versions = registry(tmp_path)
    champion = versions.champion()
    assert champion is not None
    assert champion.through_ms > took.at
    assert champion.learned_by(settings.encoding, settings.kinds) == HYBRID
    assert champion.metrics["challengers"]["2"]["place"] == "leads"
    after = int(took.at - spoilt.BEGINS) // spoilt.VERSION + 1
    assert [versions.manifest(n).parent for n in (after - 1, after, after + 1)] == [
        *(after - 2, 0, after)
    ]
    # The version before it took the lead is of the model that led: what it predicts is that one's.
    first = versions.manifest(1)
    assert first.learned_by(settings.encoding, settings.kinds) == settings.model
    scorer = Scorer(settings.encoding, HYBRID, champion)
    assert scorer.version == champion.number


def test_who_is_not_better_never_leads(tmp_path: Path) -> None:
    status, notes = followed(tmp_path, told(rate(0.3), rate(0.3), rate(0.28), rate(1e-4)))
    assert not named(notes, "challenger.leads")
    found = status["challengers"]
    assert found["0"]["place"] == "leads"
    assert found["1"]["log_loss"] == found["0"]["log_loss"]  # the same model on the same labels
    assert found["3"]["evidence"] < found["1"]["evidence"] < 0
    assert found["0"]["labels"] == status["examples"]


def test_what_leads_beside_challengers_learns_what_it_would_alone(tmp_path: Path) -> None:
    alone = replace(spoilt.TOLD, model=rate(0.3))
    bare, _ = followed(tmp_path / "alone", alone)
    beside, _ = followed(tmp_path / "beside", told(rate(0.3), rate(1e-4)))
    assert beside["prequential"] == bare["prequential"]
    assert {**beside, "challengers": None} == {**bare, "challengers": None}


def test_the_worse_half_ends_after_a_round_and_rounds_double(tmp_path: Path) -> None:
    limits = Limits(tolerance=10.0)  # none can be better by so much
    kinds = [rate(alpha) for alpha in (1e-5, 0.3, 1e-4, 0.02)]
    _, notes = followed(tmp_path, told(rate(0.3), *kinds, halve_after=1_000, gate=limits))
    ended = named(notes, "challenger.ended")
    assert [note.value for note in ended] == [1, 3, 4]
    per_version = spoilt.PER_SECOND * spoilt.VERSION // 1_000
    first, last = (note.at - spoilt.BEGINS for note in (ended[0], ended[2]))
    assert ended[1].at == ended[0].at
    rounds = [-(-labels // per_version) * spoilt.VERSION for labels in (1_000, 2_000)]
    assert (first, last - first) == (rounds[0], rounds[1])
    assert "that of 2, the best of 2," in str(ended[2].cause)


def test_after_a_change_who_is_better_on_average_leads() -> None:
    field = Challengers(rate(0.1), Challenge((rate(0.2), rate(0.3))), spoilt.ENCODING, Limits())
    model: Model = rate(0.1).blank(spoilt.ENCODING)

    def come(*p: float, labels: int = 60) -> list[Note]:
        nonlocal model
        field.learn(np.tile(p, (labels, 1)), (np.arange(labels) % 12 < 7).astype(float))
        model, notes = field.settle(1_000, model)
        return notes

    assert come(0.5, 0.4, 0.6) == []  # by a little: that is not shown
    field.prefer()
    assert come(0.5, 0.4, 0.6, labels=48) == []  # too few
    assert [(note.name, note.value) for note in come(0.5, 0.4, 0.6)] == [("challenger.leads", 2)]
    assert come(0.6, 0.4, 0.5) == []  # preferred once
    field.prefer()
    assert come(0.5, 0.4, 0.6) == []  # none is better
    assert come(0.6, 0.4, 0.5) == []  # and that is settled


def test_who_began_worse_is_judged_by_a_later_round() -> None:
    challenge = Challenge((rate(0.2),), halve_after=600)
    field = Challengers(rate(0.1), challenge, spoilt.ENCODING, Limits())
    model: Model = rate(0.1).blank(spoilt.ENCODING)
    for p, labels in ((0.9, 600), (0.45, 1_199)):
        field.learn(np.tile([0.6, p], (labels, 1)), (np.arange(labels) % 12 < 5).astype(float))
        model, notes = field.settle(1_000, model)
    assert [note.value for note in notes] == [1]


def test_drift_prefers_a_challenger(tmp_path: Path) -> None:
    """Where labels turn, the slower model is worse; with `promote` it is replaced at once."""

    def turn(second: int, x: spoilt.Row, label: bool) -> tuple[spoilt.Row, bool]:
        return x, label != (second >= 100)

    found = {}
    for name, actions in (("promote", (Action("promote"),)), ("alert", (Action("alert"),))):
        settings = told(
            rate(0.05), rate(0.5), gate=Limits(tolerance=10.0), watching=Watching(loss=actions)
        )
        _, notes = followed(tmp_path / name, settings, turn)
        found[name] = [note.at for note in named(notes, "challenger.leads")]
    turned = spoilt.BEGINS + 100_000
    assert next(at for at in found["promote"] if at > turned) <= turned + 4 * spoilt.VERSION
    assert found["alert"] == []


def test_one_that_is_no_number_ends_and_the_others_go_on(tmp_path: Path) -> None:
    status, notes = followed(tmp_path, told(rate(0.3), Breaking(Ftrl(alpha=0.3)), rate(1e-4)))
    (ended,) = named(notes, "challenger.ended")
    assert ended.value == 1
    assert "is not finite" in str(ended.cause)
    assert status["challengers"]["2"]["place"] == "learns"
    assert status["restarts"] == 0


def test_each_takes_back_what_it_learned_before_its_time(tmp_path: Path) -> None:
    """So a challenger has the weights that it would have alone."""
    early = replace(SETTINGS, gate=Limits(least=1 << 30), negative_after_ms=5_000)
    first, second = Logistic(FTRL), Logistic(replace(FTRL, alpha=0.02))
    both = replace(early, model=first, challenge=Challenge((second,)))
    beside = snapshot(tmp_path / "both", both)
    for name, kind in (("model", first), ("challengers/1", second)):
        alone = snapshot(tmp_path / name.replace("/", "-"), replace(early, model=kind))
        assert alone.facts["counts"]["taken_back"] > 20
        assert alone.facts["counts"] == beside.facts["counts"]
        for array in ("ids", "zr"):
            assert np.array_equal(beside.arrays[f"{name}/{array}"], alone.arrays[f"model/{array}"])


def snapshot(folder: Path, settings: Learning) -> Snapshot:
    learner = Learner(settings, folder)
    feed(learner, [(10_000, 10_000)], log())
    learner.close()
    return learner._snapshot()


LAWS = replace(
    SETTINGS,
    model=rate(50.0),
    challenge=Challenge((rate(1e-4), Logistic(FTRL), HYBRID, rate(2e-4)), 90),
    gate=Limits(least=20, alpha=0.9),  # the log is short
)


with_early_negatives = pytest.mark.parametrize("early_ms", [None, 5_000])


@with_early_negatives
def test_a_crash_at_any_step_loses_nothing(tmp_path: Path, early_ms: int | None) -> None:
    laws = replace(LAWS, negative_after_ms=early_ms)
    with_it = Learner(laws, tmp_path / "told")
    feed(with_it, [(10_000, 10_000)], log())
    places = [each["place"] for each in with_it.status()["challengers"].values()]
    with_it.close()
    assert places[0] != "leads"
    assert sorted(set(places)) == ["ended", "leads", "learns"]
    crashes_lose_nothing(tmp_path, laws, log(), (3, 9, 14))


@with_early_negatives
@pytest.mark.parametrize("sizes", [[(7, 2)], [(90, 1), (3, 20)]])
def test_cuts_change_nothing(tmp_path: Path, sizes: Sizes, early_ms: int | None) -> None:
    digests = []
    for name, some in (("whole", [(10_000, 10_000)]), ("cut", sizes)):
        learner = Learner(replace(LAWS, negative_after_ms=early_ms), tmp_path / name)
        feed(learner, some, log())
        digests.append(learner.digest())
        learner.close()
    assert digests[0] == digests[1]


def test_without_challengers_nothing_of_them_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(SETTINGS, tmp_path)
    feed(learner, [(10_000, 10_000)], log())
    snapshot = learner._snapshot()
    learner.close()
    names = [*snapshot.arrays, *snapshot.facts, *learner.status()]
    assert not [name for name in names if "challenge" in name or "contest" in name]
    monkeypatch.setattr(learning, "digest", repr)
    assert "'model'" in SETTINGS.digest
    assert "'challenge'" not in SETTINGS.digest


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Challenge(()), "there are none"),
        (lambda: Challenge((rate(0.1),), 0), "first round has 0 labels"),
        (lambda: Challenge((Squared(),)), "predicts no single bool"),
        (lambda: told(Squared(), rate(0.1)), "predicts no single bool"),
        (lambda: told(HYBRID, replace(HYBRID, threads=2)), "nets with 1 and 2 threads"),
    ],
)
def test_what_cannot_be_is_refused(made: Any, says: str) -> None:
    with pytest.raises(LearningError, match=says):
        made()
