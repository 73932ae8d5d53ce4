"""Several labels a decision, tasks: each learned when it comes, whatever the cuts and kills."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.messages import Parser
from headrace.online_learning.models.model import PREDICT, Inputs, Steps
from headrace.online_learning.models.multitask import Mmoe
from headrace.online_learning.registry import Registry
from headrace.online_learning.rivals import RIVALS
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.scores import result, scores
from headrace.online_learning.settings import LearningError
from headrace.online_learning.start import fitted
from headrace.online_learning.watching import Action, Watching
from headrace.operators.evaluation.baselines import BASELINES
from tests.online_learning.made_up import ENCODING, SETTINGS, WITHIN, Log, log
from tests.online_learning.model_laws import crashes_lose_nothing, cuts_change_no_bit
from tests.online_learning.test_learner import X, feed, learning

TASKS = ("click", "buy")
KIND = Mmoe(batch=32, width=4, hidden=(8, 4), experts=2, tasks=TASKS, device="cpu", rate=0.2)
TOLD = replace(SETTINGS, model=KIND, score_every_ms=5_000, score_by=("city",))


def tasked(source: Log) -> Log:
    """Give most decisions a click, in time or not, and some a buy: with it, before it, or later."""
    rng = random.Random(3)  # noqa: S311 - a seeded log, no secret
    labelled: list[dict[str, Any]] = []
    for example in source.labelled:
        wet = bool(example["prediction"]["x"]["wet"])
        said = {"click": rng.random() < (0.8 if wet else 0.2)}
        if rng.random() < 0.4:
            said["buy"] = rng.random() < (0.1 if wet else 0.6)
            if rng.random() < 0.3:
                del said["click"]
        labelled += [{**example, "task": task, "label": label} for task, label in said.items()]

    def p(prediction: dict[str, Any]) -> dict[str, Any]:
        return {**prediction, "p": [0.25, 0.5]}

    by_place: dict[tuple[int, ...], list[dict[str, Any]]] = {
        (x["at"], x["partition"], x["offset"]): [] for x in source.labelled
    }
    for each in labelled:
        place = (each["at"], each["partition"], each["offset"])
        by_place[place].append({**each, "prediction": p(each["prediction"])})
    panes = [orjson.loads(message) for message in source.examples]
    for pane in panes:
        places = [(x["at"], x["partition"], x["offset"]) for x in pane["examples"]]
        pane["examples"] = [one for place in places for one in by_place[place]]
        rng.shuffle(pane["examples"])
    messages = [orjson.loads(message) for message in source.predictions]
    predictions = [orjson.dumps(p(each) if "p" in each else each) for each in messages]
    return Log(predictions, [orjson.dumps(pane) for pane in panes], source.decided, labelled)


LOG = tasked(log())


def counted(task: str) -> list[tuple[dict[str, Any], bool, list[bool]]]:
    """Give the labels of a task that count, with those known before their decisions."""
    mine = [each for each in LOG.labelled if each["task"] == task]
    seen: set[int] = set()
    known: list[tuple[int, bool]] = []
    found = []
    for example in sorted(mine, key=lambda x: (x["at"], x["partition"], x["offset"])):
        decided, label = example["prediction"], example["label"]
        late = not 0 <= example["at"] - decided["at"] <= WITHIN
        if late or decided["seq"] in seen:
            continue
        seen.add(decided["seq"])
        known.append((example["at"], label))
        found.append((decided, label, [y for at, y in known if at < decided["at"]]))
    return found


def test_each_task_is_scored_as_a_plain_loop(tmp_path: Path) -> None:
    with learning(tmp_path, TOLD) as learner:
        feed(learner, [(17, 4)], LOG)
        status = learner.status()
    labels = {task: counted(task) for task in TASKS}
    assert min(map(len, labels.values())) > 60
    assert status["examples"] == sum(map(len, labels.values()))
    assert status["duplicate_labels"] > 20
    decided = {each["seq"] for some in labels.values() for each, _, _ in some}
    assert status["pending"] + status["unlabelled"] == len(LOG.decided) - len(decided)
    assert tuple(status["rivals"]) == RIVALS
    start = SETTINGS.score_from_ms or 0
    for i, task in enumerate(TASKS):
        served = scores()
        y = [label for _, label, _ in labels[task]]
        served.update([(0.25, 0.5)[i]] * len(y), y)
        told = {f"{task}.{name}": value for name, value in result(served).items()}
        assert told.items() <= status["served_all"].items()
        some = [(label, known) for at, label, known in labels[task] if at["at"] >= start]
        for rival, kind in BASELINES.items():
            said = []
            for _, known in some:
                one = kind()
                one.learn(np.array(known, np.float64))
                said.append(one.now)
            by_hand = scores()
            by_hand.update(said, [label for label, _ in some])
            told = {f"{task}.{name}": value for name, value in result(by_hand).items()}
            found = {name: status["rivals"][rival][name] for name in told}
            assert found == pytest.approx(told, abs=1e-6), (task, rival)
        own, base = status["prequential_all"], status["rivals"]["base_rate"]
        assert own[f"{task}.auc"] > 0.53
        assert base[f"{task}.n"] == len(some)
    assert status["gate"]["promoted"] > 2


def test_cuts_and_crashes_change_nothing(tmp_path: Path) -> None:
    told = replace(TOLD, watching=Watching(loss=(Action("alert"),)))
    crashes_lose_nothing(tmp_path, told, LOG, (3, 9, 14))


def test_the_order_of_labels_in_a_message_changes_nothing(tmp_path: Path) -> None:
    """Flink may gather what is of one event in any order."""
    panes = [orjson.loads(message) for message in LOG.examples]
    for pane in panes:
        pane["examples"].reverse()
    turned = replace(LOG, examples=[orjson.dumps(pane) for pane in panes])
    digests = []
    for name, source in (("as it is", LOG), ("turned", turned)):
        with learning(tmp_path / name, TOLD) as learner:
            feed(learner, [(50, 10)], source)
            digests.append(learner.digest())
    assert digests[0] == digests[1]


def made(count: int = 400) -> tuple[Inputs, Steps]:
    rng = np.random.default_rng(6)
    ids = rng.integers(0, 30, (count, len(ENCODING.tokens)))
    slots = np.zeros((count, ENCODING.width), np.int32)
    inputs = Inputs(slots, ids, np.empty((count, 0)), np.ones(count))
    labels = np.where(rng.random(count) < 0.3, PREDICT, rng.integers(0, 4, count).astype(float))
    return inputs, Steps(np.arange(count), labels, at=np.arange(count))


def test_a_cut_anywhere_with_a_snapshot_between_changes_no_bit() -> None:
    cuts_change_no_bit(KIND, ENCODING, *made(), examples=8)


def test_a_task_without_labels_is_not_learned() -> None:
    """Its gate and its tower stand still, bit for bit: what has no label has no gradient."""
    inputs, steps = made()
    clicks = np.where(steps.labels >= 2, PREDICT, steps.labels)
    model = KIND.blank(ENCODING)
    before = {name: one.detach().clone() for name, one in model.deep.net.named_parameters()}
    model.advance(inputs, replace(steps, labels=clicks))
    now = dict(model.deep.net.named_parameters())
    still = {name for name, one in before.items() if one.equal(now[name])}
    assert {name for name in before if name.startswith(("towers.1.", "gates.1."))} <= still
    assert not any(name.startswith(("towers.0.", "gates.0.")) for name in still)


def test_a_version_serves_the_trainers_bits(tmp_path: Path) -> None:
    with learning(tmp_path, TOLD) as learner:
        feed(learner, [(50, 10)], LOG)
        version = Registry(tmp_path / "versions").champion()
    assert version is not None
    assert version.model["tasks"] == list(TASKS)
    rows = [decision["x"] for decision in LOG.decided[:90]]
    table = pa.Table.from_pylist(rows, schema=X)
    scorer = Scorer(ENCODING, KIND, version)
    said = scorer.score(table)
    assert said.shape == (90, 2)
    assert np.abs(said - 0.5).max() > 0.1
    wet = np.array([bool(row["wet"]) for row in rows])
    assert said[wet, 0].mean() > said[~wet, 0].mean()
    assert said[wet, 1].mean() < said[~wet, 1].mean()
    assert set(scorer.contributions(table.slice(0, 1))) == set(ENCODING.names)
    blank = Scorer(ENCODING, KIND, None)
    assert blank.score(table).tolist() == [[0.5, 0.5]] * 90
    assert set(blank.contributions(table.slice(0, 1)).values()) == {0.0}
    assert scorer.score(table.slice(0, 0)).shape == (0, 2)


@pytest.mark.parametrize("label", [4.0, -1.0, 0.5])
def test_what_is_no_label_of_a_task_is_refused(label: float) -> None:
    inputs, _ = made(1)
    with pytest.raises(LearningError, match="none of 2 tasks"):
        KIND.blank(ENCODING).advance(inputs, Steps(np.array([0]), np.array([label])))


@pytest.mark.parametrize("tasks", [("a",), ("a", "a")])
def test_too_few_tasks_are_refused(tasks: tuple[str, ...]) -> None:
    with pytest.raises(LearningError, match="two or more"):
        Mmoe(tasks=tasks)


def test_a_task_of_another_name_and_a_warm_start_are_refused() -> None:
    x = {"city": "Oslo", "hour": 1, "delay": 0.5, "wet": True}
    prediction = {"seq": 0, "at": 10, "p": [0.5, 0.5], "x": x}
    example = {"at": 11, "partition": 0, "offset": 0, "task": "look", "label": True}
    pane = {"end": 20, "examples": [{**example, "prediction": prediction}]}
    parser = Parser(ENCODING.inputs, Encoder(ENCODING), KIND, deep=True)
    with pytest.raises(LearningError, match="a 'task' is none of click, buy"):
        parser.examples([orjson.dumps(pane)])
    rows = pa.table({"seq": [0], "labelled": [1], "label": [True]})
    with pytest.raises(LearningError, match="several labels"):
        fitted(TOLD, rows)
