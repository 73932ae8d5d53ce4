"""Labels that are classes: learned, scored and judged like others, whatever the cuts and kills."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings

from headrace.online_learning.encoding import Encoder
from headrace.online_learning.gate import COMPARED, Gate
from headrace.online_learning.messages import Parser
from headrace.online_learning.models.linear import Logistic
from headrace.online_learning.models.model import Inputs, Kind, Steps
from headrace.online_learning.models.softmax import Softmax
from headrace.online_learning.registry import Registry
from headrace.online_learning.rivals import RIVALS_OF_CLASSES
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.settings import Ftrl, LearningError
from headrace.online_learning.verdict import Limits
from headrace.online_learning.watching import Action, Watching
from tests.online_learning.made_up import ENCODING, SETTINGS, WITHIN, Log, log
from tests.online_learning.model_laws import crashes_lose_nothing
from tests.online_learning.test_learner import ANY_SIZES, Sizes, X, feed, learning, versions

FTRL = Ftrl(alpha=0.2, l1=0.05, l2=0.5)
NAMES = ("fair", "rain", "snow")
KINDS = {"numbers": Softmax.of(3, FTRL), "names": Softmax.of(NAMES, FTRL)}
SERVED = (0.5, 0.2, 0.3)


def number(example: dict[str, Any]) -> int:
    """Give the class of a label, the last of which is none that is declared."""
    wet, place = example["prediction"]["x"]["wet"], example["offset"]
    return 3 if place % 11 == 0 else 2 if place % 5 == 0 else int(bool(wet) != (place % 7 == 0))


def classed(source: Log, kind: Softmax) -> Log:
    """Give every label its class, some of them one that is none, and every `p` three numbers."""

    def label(example: dict[str, Any]) -> int | str:
        code = number(example)
        return code if not kind.names else (*kind.names, "hail")[code]

    def said(message: bytes) -> bytes:
        told = orjson.loads(message)
        for each in (told, *(example["prediction"] for example in told.get("examples", ()))):
            if "p" in each:
                each["p"] = SERVED
        for example in told.get("examples", ()):
            example["label"] = label(example)
        return orjson.dumps(told)

    predictions, examples = (
        [said(message) for message in topic] for topic in (source.predictions, source.examples)
    )
    labelled = [{**each, "label": number(each)} for each in source.labelled]
    return Log(predictions, examples, source.decided, labelled)


LOGS = {name: classed(log(), kind) for name, kind in KINDS.items()}


def counted() -> tuple[list[tuple[dict[str, Any], int, list[int]]], int]:
    """Give the labels that count, with those known before their decisions; how many are unfit."""
    order = sorted(LOGS["numbers"].labelled, key=lambda x: (x["at"], x["partition"], x["offset"]))
    seen: set[int] = set()
    known: list[tuple[int, int]] = []
    found, unfit = [], 0
    for example in order:
        decided, label = example["prediction"], example["label"]
        if not 0 <= example["at"] - decided["at"] <= WITHIN:
            continue
        unfit += label == 3
        if label == 3 or decided["seq"] in seen:
            continue
        seen.add(decided["seq"])
        known.append((example["at"], label))
        found.append((decided, label, [y for at, y in known if at < decided["at"]]))
    return found, unfit


def scored(said: list[list[float]], labels: list[int]) -> dict[str, Any]:
    """Score by the textbook."""
    given = [max(p[label], 1e-7) for p, label in zip(said, labels, strict=True)]
    right = [p.index(max(p)) == label for p, label in zip(said, labels, strict=True)]
    loss = sum(-math.log(p) for p in given) / len(given)
    return {"n": len(given), "log_loss": loss, "accuracy": sum(right) / len(right)}


@pytest.mark.parametrize("name", KINDS)
def test_a_learner_of_classes_scores_as_a_plain_loop(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        learning(tmp_path, replace(SETTINGS, model=KINDS[name])) as learner,
    ):
        feed(learner, [(17, 4)], LOGS[name])
        status = learner.status()
    examples, unfit = counted()
    assert status["examples"] == len(examples) > 200
    assert status["unfit_labels"] == unfit > 20
    assert "none that a model of the kind 'softmax' learns are left out: 1" in caplog.text
    labels = [label for _, label, _ in examples]
    assert set(labels) == {0, 1, 2}
    said = scored([list(SERVED)] * len(labels), labels)
    assert status["served_all"] == pytest.approx(said, abs=1e-7)
    start = SETTINGS.score_from_ms or 0
    some = [(label, known) for decided, label, known in examples if decided["at"] >= start]
    even = [1 / 3] * 3
    last = [[float(c == known[-1]) for c in range(3)] if known else even for _, known in some]
    shares = [
        [known.count(c) / len(known) for c in range(3)] if known else even for _, known in some
    ]
    assert tuple(status["rivals"]) == RIVALS_OF_CLASSES
    for rival, rows in (("no_change", last), ("base_rate", shares)):
        expected = scored(rows, [label for label, _ in some])
        assert status["rivals"][rival] == pytest.approx(expected, abs=1e-6), rival
    own, base = status["prequential"], status["rivals"]["base_rate"]
    assert own["n"] == base["n"] == len(some)
    assert own["log_loss"] < base["log_loss"] - 0.03
    assert own["accuracy"] > base["accuracy"]
    assert status["gate"]["promoted"] > 3


def test_names_and_numbers_learn_the_same_weights(tmp_path: Path) -> None:
    files = []
    for name, kind in KINDS.items():
        with learning(tmp_path / name, replace(SETTINGS, model=kind)) as learner:
            feed(learner, [(50, 10)], LOGS[name])
        made = versions(tmp_path / name)
        files.append({k: data for k, data in made.items() if k.endswith(".safetensors")})
    assert files[0] == files[1] != {}


@pytest.mark.parametrize("name", KINDS)
def test_cuts_and_crashes_change_nothing(name: str, tmp_path: Path) -> None:
    told = replace(SETTINGS, model=KINDS[name], score_every_ms=5_000, score_by=("city",))
    told = replace(told, watching=Watching(loss=(Action("alert"),)))
    crashes_lose_nothing(tmp_path, told, LOGS[name], (3, 9, 14))


@given(sizes=ANY_SIZES)
@settings(max_examples=8, deadline=None)
def test_the_sizes_of_polls_change_nothing(
    sizes: Sizes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told, folder = replace(SETTINGS, model=KINDS["names"]), tmp_path_factory.mktemp("sizes")
    digests = []
    for name, polled in (("whole", [(10_000, 10_000)]), ("parts", sizes)):
        with learning(folder / name, told) as learner:
            feed(learner, polled, LOGS["names"])
            digests.append(learner.digest())
    assert digests[0] == digests[1]


def test_windows_have_the_scores_of_classes_by_slices(tmp_path: Path) -> None:
    told = replace(SETTINGS, model=KINDS["names"], score_every_ms=5_000, score_by=("city",))
    notes: list[Any] = []
    with learning(tmp_path, told) as learner:
        learner._tell = lambda fresh, _: notes.extend(fresh)
        feed(learner, [(50, 10)], LOGS["names"])
        whole = learner.status()["served_all"]
    windows = [note for note in notes if note.name.startswith("window.")]
    scores = {note.name for note in windows} - {"window.n", "window.staleness.log_loss"}
    both = ("prequential", "served")
    assert scores == {f"window.{of}.{name}" for of in both for name in ("log_loss", "accuracy")}
    assert {note.slice for note in windows} >= {"Oslo", "Bergen", "null"}
    rows = {(note.at, note.name): note.value for note in windows if note.slice_of is None}
    counts = {at: n for (at, name), n in rows.items() if name == "window.n"}
    right = sum(n * rows[at, "window.served.accuracy"] for at, n in counts.items())
    assert sum(counts.values()) <= whole["n"]
    assert right / sum(counts.values()) == pytest.approx(whole["accuracy"], abs=0.05)


def test_two_classes_learn_as_the_logistic_model_does(tmp_path: Path) -> None:
    """Of half the penalty, at twice the rate: each of two classes has half of what it has."""
    two = Softmax.of(2, FTRL)
    one = Logistic(replace(FTRL, alpha=2 * FTRL.alpha, l2=FTRL.l2 / 2))
    rng = np.random.default_rng(5)
    inputs = Inputs.of(rng.integers(0, 40, (900, 4)).astype(np.int32))
    steps = Steps(np.arange(900), rng.integers(0, 2, 900).astype(float))
    said = two.blank(ENCODING).advance(inputs, steps)
    alone = one.blank(ENCODING).advance(inputs, steps)
    assert np.abs(said[:, 1] - alone).max() < 1e-12
    assert np.abs(alone - 0.5).max() > 0.3

    def told(messages: list[bytes]) -> list[bytes]:
        parsed = [orjson.loads(message) for message in messages]
        for each in parsed:
            for row in (each, *(example["prediction"] for example in each.get("examples", ()))):
                if "p" in row:
                    row["p"] = [1 - row["p"], row["p"]]
            for example in each.get("examples", ()):
                example["label"] = int(example["label"])
        return [orjson.dumps(each) for each in parsed]

    plain = log()
    paired = Log(told(plain.predictions), told(plain.examples), plain.decided, plain.labelled)
    limits = Limits(least=20, calibration=1e9)  # of classes there is no calibration
    both: list[dict[str, Any]] = []
    models: list[tuple[str, Kind, Log]] = [("two", two, paired), ("one", one, plain)]
    for name, kind, source in models:
        with learning(tmp_path / name, replace(SETTINGS, model=kind, gate=limits)) as learner:
            feed(learner, [(50, 10)], source)
            both.append(learner.status())
    for score in ("prequential_all", "served_all"):
        losses = [status[score]["log_loss"] for status in both]
        assert losses[0] == pytest.approx(losses[1], abs=1e-7), score
    for rival in RIVALS_OF_CLASSES:
        losses = [status["rivals"][rival]["log_loss"] for status in both]
        assert losses[0] == pytest.approx(losses[1], abs=1e-7), rival
    verdicts = [{n: status["gate"][n] for n in ("promoted", "held", "waits")} for status in both]
    assert verdicts[0] == verdicts[1]


def test_the_gate_bets_on_two_classes_as_on_a_bool() -> None:
    rng = np.random.default_rng(8)
    y = (rng.random(600) < 0.3).astype(float)
    p = rng.uniform(0.05, 0.95, (600, 4))
    gates = [Gate(Limits(least=20)), Gate(Limits(least=20))]
    for gate, said in zip(gates, (p, np.stack([1 - p, p], axis=2)), strict=True):
        assert gate.judge(1, through_ms=0).verdict == "promoted"
        gate.learn(said, y, np.arange(600))
    verdicts = [gate.judge(2, through_ms=600) for gate in gates]
    assert verdicts[0].log_loss == pytest.approx(verdicts[1].log_loss, abs=1e-7)
    bets = [name for name in COMPARED if "says" not in name]
    for name in bets:
        found = [verdict.evidence[name] for verdict in verdicts]
        assert found[0] == pytest.approx(found[1], abs=1e-6), name
    assert len(bets) == 6
    assert all(verdicts[1].evidence[name] <= 0 for name in COMPARED if name not in bets)


def test_the_gate_holds_a_version_that_tells_classes_worse() -> None:
    gate, rng = Gate(Limits(least=50)), np.random.default_rng(2)
    assert gate.judge(1, through_ms=0).verdict == "promoted"
    y = rng.integers(0, 3, 500)
    right = np.full((500, 3), 0.2)
    right[np.arange(500), y] = 0.6
    even = np.full((500, 3), 1 / 3)
    gate.learn(np.stack([even, right, even, even], axis=1), y.astype(float), np.full(500, 5))
    verdict = gate.judge(2, through_ms=10)
    assert (verdict.verdict, list(verdict.causes)) == ("held", ["worse_than_champion"])


def test_a_version_names_its_classes_and_serves_them(tmp_path: Path) -> None:
    kind = KINDS["names"]
    with learning(tmp_path, replace(SETTINGS, model=kind)) as learner:
        feed(learner, [(50, 10)], LOGS["names"])
        registry = Registry(tmp_path / "versions")
        version = registry.champion()
        assert version is not None
        assert version.model["classes"] == list(NAMES)
        scorer = Scorer(ENCODING, kind, version)
        rows = [decision["x"] for decision in LOGS["names"].decided[:50]]
        table = pa.Table.from_pylist(rows, schema=X)
        said = scorer.score(table)
        assert said.shape == (50, 3)
        assert np.abs(said.sum(axis=1) - 1).max() < 1e-12
        assert sum(scorer.contributions(table.slice(0, 1)).values()) != 0.0
    blank = Scorer(ENCODING, kind, None).score(table)
    assert set(blank.ravel().tolist()) == {1 / 3}


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([0.5, 0.5], "a 'p' is not a list of 3 numbers"),
        ([0.5, None, 0.5], "a number in a 'p' is null"),
        ([0.5, 0.7, -0.2], "not in"),
    ],
)
def test_a_prediction_of_another_form_is_refused(p: list[float | None], says: str) -> None:
    x = {"city": "Oslo", "hour": 1, "delay": 0.5, "wet": True}
    prediction = {"seq": 0, "at": 10, "p": p, "x": x}
    example = {"at": 11, "partition": 0, "offset": 0, "label": "rain", "prediction": prediction}
    parser = Parser(ENCODING.inputs, Encoder(ENCODING), KINDS["names"])
    with pytest.raises(LearningError, match=says):
        parser.examples([orjson.dumps({"end": 20, "examples": [example]})])
