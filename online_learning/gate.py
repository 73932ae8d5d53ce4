"""Which version is served: the newest, unless there is evidence against it.

::

    labels ─► log loss of candidate, champion, previous, base rate ─► evidence
    version made ─► hard checks ─► enough labels? ─► evidence against it? ─► promoted
                        │              │                  └─ held, or back to the previous one
                        └─ held        └─ waits

The candidate is the trainer itself: each of its predictions was made with the labels before it, and
stands beside what the frozen champion said of the same decision. Everything follows from the log.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.online_learning.evidence import Evidence
from headrace.online_learning.models.model import State
from headrace.online_learning.verdict import VERDICTS, Limits, Verdict

__all__ = ["COMPARED", "PREDICTORS", "UNIT", "Gate", "losses_of"]

Floats = NDArray[np.float64]

COMPARED = (
    "worse_than_champion",
    "worse_than_previous",
    "champion_worse_than_previous",
    "says_too_much",
    "says_too_little",
    "better_than_base_rate",
    "champion_worse_than_base_rate",
    "champion_says_too_much",
    "champion_says_too_little",
    "previous_worse_than_base_rate",
)
"""What is bet on: one mean each. The last four are watched, whatever was before."""
PREDICTORS = ("candidate", "champion", "previous", "base_rate")
_WATCHED = COMPARED[6:]
_STRANGE = COMPARED[6:9]
_STRANGE_BY = 0.1  # a champion is that much worse than the base rate on many a real day of snow
_LEAST_P = 1e-6  # a baseline may say 0 or 1, and its log loss would have no end
UNIT = 2.0**32
"""Losses are summed in whole ones of it: their order changes no digit."""


def losses_of(said: Floats) -> Floats:
    """Give the log losses of probabilities: were the label 0, and were it 1; NaN stays.

    >>> losses_of(np.array([0.5, 0.0])).round(3).tolist()
    [[0.693, 0.0], [0.693, 13.816]]
    """
    p = np.clip(said, _LEAST_P, 1 - _LEAST_P)
    return np.stack([-np.log1p(-p), -np.log(p)])


class Gate:
    """Bets on labels as they come, and judges each version that is made.

    Labels that turn, or are all alike for a while, are learned like any: the candidate is then
    better at them than the champion. But the champion is suddenly worse than the base rate, or says
    many times too much: it is frozen, so it is the labels that are others. Then candidates are
    held for some versions; if it stays so, the world has changed, and they are promoted.

    After one was held the next must be as good as the champion on average: what spoilt the one may
    linger, and is not shown at once.

    The base rate and the calibration count only once the model was shown better than the base
    rate: before, there is nothing to protect.

    Parameters
    ----------
    limits
        None judges by the hard checks alone.

    Examples
    --------
    >>> gate = Gate(Limits(least=50))
    >>> gate.judge(1, through_ms=1_000).verdict
    'promoted'
    >>> said = np.tile([0.6, 0.25, np.nan, 0.25], (400, 1))
    >>> gate.learn(said, (np.arange(400) % 4 == 0).astype(float), np.full(400, 1_500))
    >>> verdict = gate.judge(2, through_ms=2_000)
    >>> print(verdict)
    held: its log loss is 0.8149 on 400 labels, that of version 1, the champion, 0.5623
    >>> verdict.champion
    1
    """

    def __init__(self, limits: Limits | None) -> None:
        self.limits = limits
        self.champion: int | None = None
        self.previous: int | None = None
        self._since_ms = 0  # what was decided since then is paired
        self._evidence = Evidence([name in _WATCHED for name in COMPARED])
        self._proven = False  # the model was shown better than the base rate
        self._wary = False  # the last one was held: the next must have stood beside the champion
        self._patient = 0  # how many were held in a row for what the labels say
        self._begin()
        self._counts = dict.fromkeys(VERDICTS, 0)
        self._causes: dict[str, int] = {}
        self._last: dict[str, float] = {}

    def _begin(self) -> None:
        self._labels = self._paired = 0
        self._losses = np.zeros(len(PREDICTORS), np.int64)  # of what is paired, in `UNIT`
        self._sums = np.zeros(2, np.int64)  # of p, in `UNIT`, and of the labels

    def learn(self, said: Floats, labels: Floats, decided: NDArray[np.int64]) -> None:
        """Take labels in their order, and what was said of each decision when it was made.

        Parameters
        ----------
        said
            Of shape (labels, `PREDICTORS`): probabilities; NaN of a version where there is none.
            Or (labels, `PREDICTORS`, classes): one of each class.
        labels
            0 or 1, or the number of the class.
        decided
            The event time of each decision, ms.
        """
        if self.limits is None or not len(labels):
            return
        beside = (decided >= self._since_ms) & (self.champion is not None)
        p = np.clip(said, _LEAST_P, 1 - _LEAST_P).T
        losses = -np.log(p) if said.ndim > 2 else losses_of(p)  # by label, predictor and row
        self._bet(self.limits, losses, None if said.ndim > 2 else p, labels, beside)
        chosen = _came(losses, labels)[:, beside]
        self._labels += len(labels)
        self._paired += int(beside.sum())
        self._losses += np.rint(np.nan_to_num(chosen) * UNIT).astype(np.int64).sum(axis=1)
        if said.ndim == 2:
            self._sums[0] += np.rint(p[0] * UNIT).astype(np.int64).sum()
            self._sums[1] += int((labels == 1.0).sum())

    def _bet(
        self,
        limits: Limits,
        losses: Floats,
        p: Floats | None,
        labels: Floats,
        beside: NDArray[np.bool_],
    ) -> None:
        """Bet on what each mean is; of classes there is no sum of p to bet on."""
        candidate, champion, previous, base = losses.transpose(1, 0, 2)
        slack, times = limits.tolerance, limits.calibration
        old, served = self.previous is not None, self.champion is not None
        strange, no_bet = base + _STRANGE_BY, np.full_like(base, np.nan)

        def much(who: int) -> Floats:
            return no_bet if p is None else np.stack([p[who] / times, p[who] / times - 1.0])

        def little(who: int) -> Floats:
            return no_bet if p is None else np.stack([-times * p[who], 1.0 - times * p[who]])

        may = {
            "worse_than_champion": np.where(beside, candidate - champion - slack, np.nan),
            "worse_than_previous": np.where(beside & old, candidate - previous - slack, np.nan),
            "champion_worse_than_previous": np.where(
                beside & old, champion - previous - slack, np.nan
            ),
            "says_too_much": much(0),
            "says_too_little": little(0),
            "better_than_base_rate": base - candidate,
            "champion_worse_than_base_rate": np.where(
                served, champion - base - _STRANGE_BY, np.nan
            ),
            "champion_says_too_much": np.where(served, much(1), np.nan),
            "champion_says_too_little": np.where(served, little(1), np.nan),
            "previous_worse_than_base_rate": np.where(old, previous - strange, np.nan),
        }
        both = np.stack([may[name] for name in COMPARED], axis=-1)
        x = np.ascontiguousarray(_came(both.transpose(0, 2, 1), labels).T)
        self._evidence.add(x, np.abs(both).max(axis=0))

    def judge(
        self, number: int, *, through_ms: int, wrong: str | None = None, size_bytes: int = 0
    ) -> Verdict:
        """Judge the version that was just made, on the labels since the one before was judged.

        Parameters
        ----------
        number, through_ms
            Its number and time.
        wrong
            What is wrong with its arrays, if anything is: then it is held, whatever the limits.
        size_bytes
            How large they are.
        """
        self._proven |= self._shown("better_than_base_rate")
        causes = self._hard(wrong, size_bytes)
        verdict = "held"
        if not causes and (causes := self._too_few()):
            verdict = "waits"
        elif not causes and not (causes := self._against()):
            verdict = "promoted"
        elif self._back():
            verdict = "rolled_back"
            causes |= {"champion_worse_than_previous": self._says("champion_worse_than_previous")}
        told = Verdict(
            verdict,
            causes,
            *self._named(verdict, number),
            labels=self._labels,
            paired=self._paired,
            evidence=dict(zip(COMPARED, self._evidence.logs.tolist(), strict=True)),
            log_loss=self._log_loss(),
        )
        self._take(told, through_ms)
        return told

    def _hard(self, wrong: str | None, size_bytes: int) -> dict[str, str]:
        found = {"not_finite": wrong} if wrong else {}
        most = self.limits.most_bytes if self.limits else None
        if most is not None and size_bytes > most:
            found["too_large"] = f"it has {size_bytes:,} bytes, and may have {most:,}"
        return found

    def _too_few(self) -> dict[str, str]:
        """Say whether there are too few labels to judge; without a champion anything is better."""
        if self.limits is None or self.champion is None:
            return {}
        seen = self._paired if self._wary else self._labels
        if seen >= self.limits.least:
            return {}
        beside = f" beside version {self.champion}" if self._wary else ""
        return {"too_few_labels": f"there are {seen} of {self.limits.least} labels{beside}"}

    def _against(self) -> dict[str, str]:
        if self.limits is None or self.champion is None:
            return {}
        names = ["worse_than_champion", "worse_than_previous"]
        loss = self._log_loss()
        worse_by = loss["candidate"] - loss["champion"] if loss else 0.0
        if self._proven and worse_by > 0:  # or the champion is off as well
            names += ["says_too_much", "says_too_little"]
        # Where the one before finds nothing strange, it is the champion and not the labels.
        if self._proven and self._patient < self.limits.patience and not self._back():
            names += _STRANGE
        causes = {name: self._says(name) for name in names if self._shown(name)}
        if not causes and self._wary and worse_by > self.limits.tolerance:
            causes["still_worse"] = f"one was held before, and {self._says('worse_than_champion')}"
        return causes

    def _back(self) -> bool:
        """Say whether the one before was better, on labels that it does not find strange, too."""
        shown = self._shown("champion_worse_than_previous")
        return shown and not self._shown("previous_worse_than_base_rate")

    def _shown(self, name: str) -> bool:
        if self.limits is None:
            return False
        alpha = self.limits.alpha
        return self._evidence.shown(
            COMPARED.index(name), alpha=alpha * alpha if name in _WATCHED else alpha
        )

    def _says(self, name: str) -> str:
        """Say what is shown."""
        on = f"on {self._paired} labels"
        loss = {each: f"{value:.4f}" for each, value in self._log_loss().items()}
        previous = f"that of version {self.previous}, the one before"
        sums = f"p sums to {self._sums[0] / UNIT:.1f} with {self._sums[1]} positives"
        if name == "worse_than_champion":
            champion = f"that of version {self.champion}, the champion, {loss['champion']}"
            return f"its log loss is {loss['candidate']} {on}, {champion}"
        if name == "worse_than_previous":
            return f"its log loss is {loss['candidate']} {on}, {previous}, {loss['previous']}"
        if name == "champion_worse_than_previous":
            champion = f"the champion's log loss is {loss['champion']} {on}"
            return f"{champion}, {previous}, {loss['previous']}"
        if name == "champion_worse_than_base_rate":
            return f"in {self._labels} labels there is a run that the base rate tells better"
        if name in _STRANGE:
            few = "few" if name == "champion_says_too_much" else "many"
            return f"in {self._labels} labels there is a run of too {few} positives"
        return f"its {sums}, of {self._labels} labels"

    def _log_loss(self) -> dict[str, float]:
        if not self._paired:
            return {}
        means = self._losses / UNIT / self._paired
        there = (True, True, self.previous is not None, True)
        pairs = zip(PREDICTORS, means.tolist(), there, strict=True)
        return {name: mean for name, mean, has in pairs if has}

    def _named(self, verdict: str, number: int) -> tuple[int | None, int | None]:
        if verdict == "promoted":
            return number, self.champion
        return (self.previous, None) if verdict == "rolled_back" else (self.champion, self.previous)

    def _take(self, told: Verdict, through_ms: int) -> None:
        """Begin the next comparison, unless it is this one that goes on."""
        self._counts[told.verdict] += 1
        for cause in told.causes:
            self._causes[cause] = self._causes.get(cause, 0) + 1
        self._last = {f"evidence.{name}": value for name, value in told.evidence.items()}
        self._last |= {f"log_loss.{name}": value for name, value in told.log_loss.items()}
        if told.champion != self.champion:
            self._since_ms = through_ms
        self.champion, self.previous = told.champion, told.previous
        if told.verdict == "waits":
            return
        self._wary = told.verdict != "promoted"
        surprised = any(name in told.causes for name in _STRANGE)
        self._patient = self._patient + surprised if self._wary else 0
        kept = COMPARED.index("better_than_base_rate")
        self._evidence.forget([i for i in range(len(COMPARED)) if i != kept])
        self._begin()

    def status(self) -> dict[str, float]:
        """Say the champion, how many versions met which verdict and cause, and the last numbers."""
        causes = {f"cause.{name}": count for name, count in sorted(self._causes.items())}
        return {"champion": self.champion or 0, **self._counts, **causes, **self._last}

    def state(self) -> State:
        """Give what `restore` needs."""
        facts = {
            "champion": self.champion,
            "previous": self.previous,
            "since_ms": self._since_ms,
            "proven": self._proven,
            "wary": self._wary,
            "patient": self._patient,
            "labels": self._labels,
            "paired": self._paired,
            "counts": dict(self._counts),
            "causes": dict(self._causes),
            "last": dict(self._last),
        }
        arrays = {"wealth": self._evidence.wealth, "losses": self._losses, "sums": self._sums}
        return State(arrays, facts)

    def restore(self, state: State) -> None:
        """Take up a state."""
        arrays, facts = state.arrays, state.facts
        self._evidence.wealth[:] = arrays["wealth"]
        self._losses, self._sums = arrays["losses"].copy(), arrays["sums"].copy()
        self.champion, self.previous = facts["champion"], facts["previous"]
        self._since_ms, self._proven = facts["since_ms"], facts["proven"]
        self._wary, self._patient = facts["wary"], facts["patient"]
        self._labels, self._paired = facts["labels"], facts["paired"]
        self._counts, self._causes = dict(facts["counts"]), dict(facts["causes"])
        self._last = dict(facts["last"])


def _came(by_label: Floats, labels: Floats) -> Floats:
    """Give of (labels that may be, others, rows) what is of the label that came to each row.

    >>> _came(np.array([[[1.0, 2.0]], [[3.0, 4.0]]]), np.array([1.0, 0.0])).tolist()
    [[3.0, 2.0]]
    """
    came: Floats = by_label[labels.astype(np.int64), :, np.arange(len(labels))].T
    return came
