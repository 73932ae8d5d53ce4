"""Optuna over a replay: each trial learns the examples anew, and ends early where it is worse.

::

    settings ─► learn part 1 ─► 2 ─► 4 ─► all 8 ─► log loss of every decision so far
                     └───────┴────┴─ the worse half ends here (successive halving)

    the best, and what is declared ─► learn all ─► log loss of the held-back last part
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from headrace.jobs import assembly
from headrace.jobs.examples import Examples
from headrace.jobs.tune.parts import Part, Parts, cut
from headrace.online_learning.models.model import Kind
from headrace.online_learning.prequential import Prequential
from headrace.online_learning.space import Choice, Dimension
from headrace.operators.errors import EnvironmentProblem, HeadraceError
from headrace.operators.evaluation.rows import EvaluationError
from headrace.pipelines.models import KINDS, made
from headrace.pipelines.pipeline import Pipeline

if TYPE_CHECKING:
    import optuna

__all__ = ["Judged", "Trial", "Tuned", "search"]

_HALF = 2
_ASKED = "asked to tune a model"


@dataclass(frozen=True)
class Trial:
    """One set of settings: its log loss after each part; fewer parts where it ended early.

    `ended` is `whole`, `pruned`, or `not finite` where a weight became no number.
    """

    number: int
    kind: str
    settings: Mapping[str, float | int | str]
    log_loss: tuple[float, ...]
    ended: str


@dataclass(frozen=True)
class Judged:
    """What settings reach on the held-back decisions, having learned all before them."""

    n: int
    log_loss: float
    auc: float


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Parameters
    ----------
    trials
        In their order.
    best
        The whole one of the least log loss.
    present_log_loss
        That of the declared settings, where trials have theirs.
    held_from_ms
        The event time from which decisions are held back.
    present, found
        The declared settings and the best, on what was held back.
    """

    trials: tuple[Trial, ...]
    best: Trial
    present_log_loss: float
    held_from_ms: int
    present: Judged
    found: Judged

    @property
    def gain(self) -> float:
        """Give by how much the best has less log loss than what is declared."""
        return self.present.log_loss - self.found.log_loss


def search(
    pipeline: Pipeline,
    examples: Examples,
    *,
    trials: int,
    seed: int,
    tell: Callable[[Trial], None] = lambda _: None,
) -> Tuned:
    """Search the declared space; equal arguments give equal results.

    Raises
    ------
    EnvironmentProblem
        Where Optuna is not installed, examples are too few, or no trial came to its end.
    HeadraceError
        Where the model predicts no single bool.
    """
    if find_spec("optuna") is None:
        raise EnvironmentProblem(_ASKED, "optuna is not installed", "install headrace[tune]")
    if pipeline.model.kind.task != "probability":
        what = f"the kind {pipeline.model.kind.name!r} predicts no single bool"
        raise HeadraceError(_ASKED, what, "tune a model of a bool")
    kinds = [pipeline.model.kind, *(made(k, pipeline.tuning.given) for k in pipeline.tuning.kinds)]
    deep = any(kind.deep for kind in kinds)
    parts = cut(examples, assembly.encoding(pipeline), deep=deep)
    replay = _Replay(pipeline, parts)
    present_log_loss, present = replay.judged(pipeline.model.kind)
    found = _trials(pipeline, replay, trials=trials, seed=seed, tell=tell)
    whole = [trial for trial in found if trial.ended == "whole"]
    if not whole:
        do = "search a lower rate, or take more trials"
        raise EnvironmentProblem(_ASKED, f"none of {trials} trials came to its end", do)
    best = min(whole, key=lambda trial: (trial.log_loss[-1], trial.number))
    kind = made(best.kind, {**pipeline.tuning.given, **best.settings})
    return Tuned(
        trials=tuple(found),
        best=best,
        present_log_loss=present_log_loss,
        held_from_ms=parts.held_from_ms,
        present=present,
        found=replay.judged(kind)[1],
    )


class _Replay:
    """Learns the parts with a kind of model, as the learner would."""

    def __init__(self, pipeline: Pipeline, parts: Parts) -> None:
        self._parts = parts
        self._learning = replace(assembly.learning(pipeline), score_from_ms=parts.held_from_ms)

    def _blank(self, kind: Kind) -> Prequential:
        # Neither what is learned early and taken back nor what watches can tell settings apart.
        return Prequential(self._learning.bare(kind))

    def judged(self, kind: Kind) -> tuple[float, Judged]:
        """Give the log loss before the held-back decisions, and score those."""
        one = self._blank(kind)
        reached = [_after(one, part) for part in self._parts.choosing]
        one.add(self._parts.held_back.rows, self._parts.held_back.inputs)
        score = one.score()
        return reached[-1], Judged(score["n"], score["log_loss"], score["auc"])

    def trial(self, trial: optuna.Trial, kind: Kind) -> tuple[list[float], str]:
        """Give the log loss after each part, and how it ended."""
        one, reached = self._blank(kind), list[float]()
        for i, part in enumerate(self._parts.choosing, 1):
            try:
                reached.append(_after(one, part))
            except EvaluationError:  # a prediction is no number: the rate is far too high
                return reached, "not finite"
            trial.report(reached[-1], i)
            if i < len(self._parts.choosing) and trial.should_prune():
                return reached, "pruned"
        return reached, "whole"


def _after(one: Prequential, part: Part) -> float:
    one.add(part.rows, part.inputs)
    loss = one.score_all()["log_loss"]
    return math.inf if loss is None else float(loss)


def _trials(
    pipeline: Pipeline,
    replay: _Replay,
    *,
    trials: int,
    seed: int,
    tell: Callable[[Trial], None],
) -> list[Trial]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        kind, chosen = _chosen(pipeline, trial)
        model = made(kind, {**pipeline.tuning.given, **chosen})
        reached, ended = replay.trial(trial, model)
        found.append(Trial(trial.number, kind, chosen, tuple(reached), ended))
        tell(found[-1])
        if ended != "whole":
            raise optuna.TrialPruned
        return reached[-1]

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=_HALF),
    )
    study.optimize(objective, n_trials=trials)
    return found


def _chosen(pipeline: Pipeline, trial: optuna.Trial) -> tuple[str, dict[str, float | int | str]]:
    """Let Optuna choose a kind, then what this kind has of the space."""
    tuning = pipeline.tuning
    several = len(tuning.kinds) > 1
    kind = trial.suggest_categorical("kind", tuning.kinds) if several else tuning.kinds[0]
    known = KINDS[kind].settings
    space = {name: each for name, each in tuning.space.items() if name in known}
    return kind, {name: _suggested(trial, name, each) for name, each in space.items()}


def _suggested(trial: optuna.Trial, name: str, dimension: Dimension) -> float | int | str:
    if isinstance(dimension, Choice):
        return dimension.values[trial.suggest_categorical(name, list(range(len(dimension.values))))]
    low, high = dimension.ends
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), log=dimension.log)
    return dimension.short(trial.suggest_float(name, low, high, log=dimension.log))
