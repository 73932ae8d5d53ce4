"""Labels that turn, hours without a positive, odd numbers, a feature that vanishes: what is served.

The truth of the log is known: so is the expected loss of every version that is served.
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.online_learning.learner import Learner, registry
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.linear import LinearModel, Logistic
from headrace.online_learning.models.model import Inputs, Steps
from headrace.online_learning.observer import Note
from headrace.online_learning.settings import Encoding, Ftrl
from headrace.online_learning.version import fault
from tests.online_learning import spoilt
from tests.online_learning.made_up import Log
from tests.online_learning.spoilt import BEGINS, PER_SECOND, TOLD, VERSION, Spoil

CLEAN = 10  # versions before anything is spoilt
SPOILT: dict[str, tuple[Callable[[], Spoil], set[str]]] = {
    "labels turned, a version long": (lambda: spoilt.flipped(100, 110), {"held"}),
    "labels turned, across a version's end": (lambda: spoilt.flipped(105, 114), {"held"}),
    "labels turned, shortly": (lambda: spoilt.flipped(108, 110), {"held"}),
    "no positive, a version long": (lambda: spoilt.negative(100, 110), {"held"}),
    "no positive, across a version's end": (lambda: spoilt.negative(107, 113), {"held"}),
    "odd numbers": (lambda: spoilt.odd(100, 110), {"held"}),
    "a feature that vanishes": (lambda: spoilt.vanished(100), set()),
    "nothing": (lambda: spoilt.flipped(0, 0), set()),
}


@contextmanager
def learning(folder: Path, told: Learning, notes: list[Note] | None = None) -> Iterator[Learner]:
    taken: list[Note] = [] if notes is None else notes

    def tell(fresh: object, first: int) -> None:
        assert isinstance(fresh, list)
        taken[first:] = fresh

    learner = Learner(told, folder, tell)
    try:
        yield learner
    finally:
        learner.close()


def feed(learner: Learner, source: Log, seconds: int) -> None:
    """Let the next seconds of a log come."""
    p, e = learner.offsets["predictions"], learner.offsets["examples"]
    until = min(e + seconds, len(source.examples))
    end = until * (PER_SECOND + 1)
    learner.predictions(source.predictions[p:end], max(p, end))
    learner.examples(source.examples[e:until], until)
    learner.advance()


@dataclass(frozen=True)
class Course:
    """What was served, version after version: its number and its expected loss."""

    champions: list[int]
    losses: list[float]
    newest: list[float]
    verdicts: list[str]
    notes: list[Note]
    log: str


def course(spoil: Spoil, told: Learning = TOLD, seed: int = 1) -> Course:
    """Run a log through a learner, a version at a time."""
    source = spoilt.log(spoil, seed)
    done = Course([], [], [], [], [], "")
    with tempfile.TemporaryDirectory() as name, learning(Path(name), told, done.notes) as learner:
        known = registry(Path(name))
        losses: dict[int, float] = {}
        for _ in range(spoilt.SECONDS * 1_000 // VERSION):
            feed(learner, source, VERSION // 1_000)
            champion, newest = known.aliases().champion, known.numbers()[-1]
            assert champion is not None
            for number in {champion, newest} - set(losses):
                losses[number] = spoilt.true_loss(known, number, told)
                assert fault(known.version(number).arrays()) is None
            done.champions.append(champion)
            done.losses.append(losses[champion])
            done.newest.append(losses[newest])
            done.verdicts.append(known.version(newest).gate["verdict"])
    return done


@cache
def of(name: str, seed: int) -> Course:
    return course(SPOILT[name][0](), seed=seed)


@pytest.mark.parametrize(
    ("name", "seed"),
    [*((name, 1) for name in SPOILT), ("labels turned, across a version's end", 2)],
)
def test_the_champion_is_not_replaced_by_a_worse_one(name: str, seed: int) -> None:
    done = of(name, seed)
    assert len(done.losses) == spoilt.SECONDS * 1_000 // VERSION
    assert max(done.losses[CLEAN:]) < max(done.losses[3:CLEAN]) + 0.01
    assert SPOILT[name][1] <= set(done.verdicts[CLEAN : CLEAN + 2])
    assert done.champions[-1] > CLEAN + 3  # and fresh versions are served again


@pytest.mark.parametrize("name", ["labels turned, shortly", "odd numbers"])
def test_without_the_gate_it_would_be(name: str) -> None:
    done = course(SPOILT[name][0](), replace(TOLD, gate=None))
    assert max(done.losses[CLEAN:]) > max(done.losses[3:CLEAN]) + 0.01
    assert done.losses == done.newest


def test_while_nothing_is_spoilt_each_version_is_served() -> None:
    done = of("nothing", 1)
    assert done.champions == list(range(1, len(done.champions) + 1))
    assert set(done.verdicts) == {"promoted"}


def test_the_cause_is_noted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        done = course(spoilt.flipped(100, 110))
    note = next(note for note in done.notes if note.value == CLEAN + 1)
    assert (note.name, note.at) == ("gate.verdict", BEGINS + (CLEAN + 1) * VERSION)
    assert "there is a run that the base rate tells better" in str(note.cause)
    (warning,) = [each for each in caplog.messages if each.startswith(f"version {CLEAN + 1} ")]
    assert warning == f"version {CLEAN + 1} {note.cause}; version {CLEAN} serves"


@cache
def undisturbed() -> tuple[str, bytes, list[Note]]:
    return disturbed([spoilt.SECONDS], kills=False)


def disturbed(cuts: list[int], *, kills: bool) -> tuple[str, bytes, list[Note]]:
    source, notes = spoilt.log(spoilt.flipped(105, 114)), list[Note]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cut, done = 0, False
        while not done:
            with learning(folder, TOLD, notes) as learner:
                while not done:
                    feed(learner, source, cuts[cut % len(cuts)])
                    cut += 1
                    done = learner.status()["through_ms"] == BEGINS + spoilt.SECONDS * 1_000
                    if kills and cut % 3 == 0:
                        break
                digest = learner.digest()
        return digest, (folder / "versions" / "ALIASES").read_bytes(), notes


@pytest.mark.parametrize("kills", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_neither_cuts_nor_kills_change_a_verdict(seed: int, kills: bool) -> None:
    rng = random.Random(seed)  # noqa: S311 - a seeded log, no secret
    cuts = [rng.randint(13, 40) for _ in range(7)]
    assert disturbed(cuts, kills=kills) == undisturbed()
    assert len([note for note in undisturbed()[2] if "held" in str(note.cause)]) == 3


@dataclass(frozen=True)
class Breaking(Logistic):
    """A model that breaks once, at a time of the log."""

    def blank(self, encoding: Encoding) -> LinearModel:
        """Make one."""
        return _Breaking(self, encoding)


class _Breaking(LinearModel):
    def advance(self, inputs: Inputs, steps: Steps) -> NDArray[np.float64]:
        predicted = super().advance(inputs, steps)
        breaks = BEGINS + 65_000
        if steps.at is not None and (steps.at < breaks).any() and (steps.at >= breaks).any():
            self.zr[:, 0] = np.nan
        return predicted


def test_a_model_whose_weights_are_no_numbers_begins_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, notes = spoilt.log(), list[Note]()
    told = replace(TOLD, model=Breaking(Ftrl(alpha=0.3)))
    with learning(tmp_path, told, notes) as learner:
        feed(learner, source, 70)
        feed(learner, source, 1)
        known = registry(tmp_path)
        assert learner.status()["restarts"] == 1
        assert (known.aliases().champion, known.numbers()[-1]) == (6, 6)
        assert notes[6].cause == "held: a number in 'weights' is not finite"
        assert "the model begins anew" in caplog.text
        feed(learner, source, 100)
        status = learner.status()
    champion = known.champion()
    assert champion is not None
    assert champion.number > 10
    assert spoilt.true_loss(known, champion.number, told) < 0.56
    assert known.version(known.numbers()[-1]).parent > 6
    assert np.isfinite(status["prequential_all"]["log_loss"])
