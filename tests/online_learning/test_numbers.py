"""Labels that are numbers: learned, scored and served like others, whatever the cuts and kills."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.online_learning.models.linear import Linear, Poisson, Quantile, Squared
from headrace.online_learning.rivals import RIVALS_OF_NUMBERS
from headrace.online_learning.settings import Ftrl
from tests.online_learning.made_up import SETTINGS, WITHIN, Log, log
from tests.online_learning.model_laws import crashes_lose_nothing
from tests.online_learning.test_learner import feed, learning

FTRL = Ftrl(alpha=0.5)
KINDS: list[Linear] = [Squared(FTRL), Poisson(FTRL), Quantile(FTRL, tau=0.9)]


def numbered(source: Log) -> Log:
    """Give every label a number of its own, some of them below 0, and every `p` one, too."""

    def label(place: int) -> float:
        return round(6 + 8 * math.sin(place), 3) if place % 5 else place / 7

    def told(messages: list[bytes]) -> list[bytes]:
        panes = [orjson.loads(message) for message in messages]
        for pane in panes:
            for example in pane["examples"]:
                example["label"] = label(example["offset"])
                example["prediction"]["p"] = 7.5
        return [orjson.dumps(pane) for pane in panes]

    labelled = [{**each, "label": label(each["offset"])} for each in source.labelled]
    return Log(source.predictions, told(source.examples), source.decided, labelled)


LOG = numbered(log())


def counted(kind: Linear) -> list[tuple[dict[str, Any], float, list[float]]]:
    """Give the labels that count, in their order, with those known before their decisions."""
    order = sorted(LOG.labelled, key=lambda x: (x["at"], x["partition"], x["offset"]))
    seen: set[int] = set()
    known: list[tuple[int, float]] = []
    found = []
    for example in order:
        decided, label = example["prediction"], example["label"]
        fits = label >= 0 or not isinstance(kind, Poisson)
        if not fits or not 0 <= example["at"] - decided["at"] <= WITHIN or decided["seq"] in seen:
            continue
        seen.add(decided["seq"])
        known.append((example["at"], label))
        found.append((decided, label, [y for at, y in known if at < decided["at"]]))
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_learner_of_numbers_scores_as_a_plain_loop(kind: Linear, tmp_path: Path) -> None:
    with learning(tmp_path, replace(SETTINGS, model=kind)) as learner:
        feed(learner, [(17, 4)], LOG)
        status = learner.status()
    examples = counted(kind)
    assert status["examples"] == status["served_all"]["n"] == len(examples) > 200
    assert (status["unfit_labels"] > 20) == isinstance(kind, Poisson)
    off = np.array([7.5 - label for _, label, _ in examples])
    expected = {"rmse": math.sqrt((off**2).mean()), "mae": abs(off).mean(), "bias": off.mean()}
    if isinstance(kind, Quantile):
        expected["pinball"] = np.where(off < 0, -0.9 * off, 0.1 * off).mean()
    assert status["served_all"] == pytest.approx({"n": len(off), **expected})
    start = SETTINGS.score_from_ms or 0
    some = [(label, known) for decided, label, known in examples if decided["at"] >= start]
    said = {
        "last_value": [known[-1] if known else 0.0 for _, known in some],
        "running_mean": [sum(known) / len(known) if known else 0.0 for _, known in some],
    }
    assert tuple(status["rivals"]) == RIVALS_OF_NUMBERS
    for name, values in said.items():
        mae = np.abs(np.array(values) - np.array([label for label, _ in some])).mean()
        assert status["rivals"][name]["n"] == len(some)
        assert status["rivals"][name]["mae"] == pytest.approx(mae), name
    own, frozen = status["prequential"], status["rivals"]["frozen_first"]
    assert own["n"] == frozen["n"] == len(some)
    assert own["rmse"] != frozen["rmse"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_cuts_and_crashes_change_nothing(kind: Linear, tmp_path: Path) -> None:
    told = replace(SETTINGS, model=kind, score_every_ms=5_000)
    crashes_lose_nothing(tmp_path, told, LOG, (3, 9, 14))


def test_labels_beyond_measure_are_learned_and_scored_as_finite(tmp_path: Path) -> None:
    panes = [orjson.loads(message) for message in LOG.examples]
    for pane in panes[::3]:
        for example in pane["examples"]:
            example["label"] = 1e308
    wild = replace(LOG, examples=[orjson.dumps(pane) for pane in panes])
    with learning(tmp_path, replace(SETTINGS, model=Squared(FTRL))) as learner:
        feed(learner, [(50, 10)], wild)
        status = learner.status()
        assert all(np.isfinite(array).all() for array in learner._model.weights().values())
    assert status["prequential"]["rmse"] > 1e9
    assert math.isfinite(status["rivals"]["running_mean"]["mae"])
