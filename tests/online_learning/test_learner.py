"""The laws of the learner: neither cuts nor crashes change what is learned."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from headrace.online_learning.learner import Learner, registry
from headrace.online_learning.learning import Learning
from headrace.online_learning.models.ftrl import advance, blank
from headrace.online_learning.models.model import PREDICT, Steps
from headrace.online_learning.registry import Registry
from headrace.online_learning.rivals import RIVALS
from headrace.online_learning.scorer import Scorer
from headrace.online_learning.scores import result, scores
from headrace.online_learning.settings import LearningError
from headrace.operators.errors import CorruptError, EnvironmentProblem
from tests.online_learning.made_up import ENCODING, FTRL, SETTINGS, WITHIN, Log, log
from tests.online_learning.test_registry import Crash, crash_at

LOG = log()
X = pa.schema([(name, kind.arrow) for name, kind in ENCODING.inputs.items()])
Sizes = list[tuple[int, int]]
ANY_SIZES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=30)


@contextmanager
def learning(folder: Path, told: Learning = SETTINGS) -> Iterator[Learner]:
    """Run a learner whose process then dies: the lock goes, and nothing is saved."""
    learner = Learner(told, folder)
    try:
        yield learner
    finally:
        learner.close()


def feed(learner: Learner, sizes: Sizes, source: Log = LOG, steps: int | None = None) -> bool:
    """Feed from where the learner goes on, cycling through sizes; say whether all was fed."""
    p, e = learner.offsets["predictions"], learner.offsets["examples"]
    step = 0
    while p < len(source.predictions) or e < len(source.examples):
        if step == steps:
            return False
        more_p, more_e = sizes[step % len(sizes)]
        if step % len(sizes) == 0:
            more_p, more_e = more_p + 1, more_e + 1
        batch = source.predictions[p : p + more_p]
        p += len(batch)
        learner.predictions(batch, p)
        panes = source.examples[e : e + more_e]
        e += len(panes)
        learner.examples(panes, e)
        learner.advance()
        step += 1
    return True


def versions(folder: Path) -> dict[str, bytes]:
    # Which versions were there and are gone depends on how often it was published.
    files = [path for path in (folder / "versions").rglob("*") if ".pruned" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.is_file()}


@cache
def undisturbed() -> tuple[str, dict[str, bytes], dict[str, Any]]:
    folder = Path(tempfile.mkdtemp())
    with learning(folder) as learner:
        feed(learner, [(10_000, 10_000)])
        result = learner.digest(), versions(folder), learner.status()
    shutil.rmtree(folder)
    return result


def test_the_log_has_what_the_laws_are_about() -> None:
    digest, files, status = undisturbed()
    assert len(digest) == 64
    assert len(files) == 5 * 3 + 2  # the newest three, the champion and the one before it
    assert status["versions"] > 5
    for name in ("duplicate_labels", "early_labels", "late_labels", "unlabelled", "examples"):
        assert status[name] > 10, name
    assert status["waiting"] == {"predictions": 0, "examples": 0}


def test_it_learns_and_scores_as_a_plain_loop_over_the_sorted_events(tmp_path: Path) -> None:
    order: list[tuple[int, int, int, int, dict[str, Any]]] = [
        (decision["at"], 0, decision["seq"], 0, decision) for decision in LOG.decided
    ]
    order += [(x["at"], 1, x["partition"], x["offset"], x) for x in LOG.labelled]
    x = pa.Table.from_pylist(
        [decision["x"] for decision in LOG.decided],
        schema=pa.schema([(name, kind.arrow) for name, kind in ENCODING.inputs.items()]),
    )
    slots = Encoder(ENCODING).encode(x)
    state, given, seen = blank(ENCODING.slots), {}, set()
    paired: dict[str, list[tuple[float, float]]] = {"prequential": [], "served_all": []}

    def step(seq: int, label: float) -> float:
        p, _ = advance(state, slots, np.array([seq]), np.array([label]), FTRL)
        return float(p[0])

    for at, kind, _, _, event in sorted(order, key=lambda event: event[:4]):
        if kind == 0:
            given[event["seq"]] = step(event["seq"], PREDICT)
            continue
        decision = event["prediction"]
        if not 0 <= at - decision["at"] <= WITHIN or decision["seq"] in seen:
            continue
        seen.add(decision["seq"])
        label = float(event["label"])
        step(decision["seq"], label)
        paired["served_all"].append((decision["p"], label))
        if decision["at"] >= (SETTINGS.score_from_ms or 0):
            paired["prequential"].append((given[decision["seq"]], label))

    with learning(tmp_path) as learner:
        feed(learner, [(10_000, 10_000)])
        status = learner.status()
        assert status["examples"] == len(seen)
        assert status["unlabelled"] + status["pending"] == len(LOG.decided) - len(seen)
        for name, pairs in paired.items():
            expected = scores()
            expected.update(*np.array(pairs).T.copy())
            assert status[name] == result(expected)
        learned = learner._snapshot().arrays
    touched = np.flatnonzero(state.any(axis=1))
    assert np.array_equal(learned["model/ids"], touched)
    assert np.array_equal(learned["model/zr"], state[touched])


def test_rivals_know_the_labels_before_a_decision_and_no_more(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        feed(learner, [(17, 4)])
        status = learner.status()
    first = Scorer(ENCODING, SETTINGS.model, Registry(tmp_path / "first").version(1))
    events = [(d["at"], 0, d["seq"], 0, d) for d in LOG.decided]
    events += [(x["at"], 1, x["partition"], x["offset"], x) for x in LOG.labelled]
    known: list[float] = []
    said: dict[int, dict[str, float]] = {}
    paired: dict[str, list[tuple[float, float]]] = {name: [] for name in RIVALS}
    for at, kind, _, _, event in sorted(events, key=lambda event: event[:4]):
        if kind == 0:
            rate = sum(known) / len(known) if known else 0.5
            x = pa.Table.from_pylist([event["x"]], schema=X)
            frozen = first.score(x)[0] if at >= (first.through_ms or 0) else 0.5
            said[event["seq"]] = {
                "base_rate": rate,
                "majority": float(rate > 0.5) if known else 0.5,
                "no_change": known[-1] if known else 0.5,
                "frozen_first": frozen,
            }
            continue
        decision = event["prediction"]
        if 0 <= at - decision["at"] <= WITHIN and decision["seq"] in said:
            rivals = said.pop(decision["seq"])
            known.append(float(event["label"]))
            for name, p in (
                rivals.items() if decision["at"] >= (SETTINGS.score_from_ms or 0) else []
            ):
                paired[name].append((p, known[-1]))
    for name in RIVALS[:4]:
        expected = scores()
        expected.update(*np.array(paired[name]).T.copy())
        assert status["rivals"][name] == result(expected), name
    last = status["rivals"]["frozen_last"]
    assert last["n"] == status["prequential"]["n"]
    assert last["log_loss"] != status["rivals"]["frozen_first"]["log_loss"]


@given(sizes=ANY_SIZES)
@settings(max_examples=25, deadline=None)
def test_how_messages_are_cut_into_batches_changes_nothing(sizes: Sizes) -> None:
    with tempfile.TemporaryDirectory() as name, learning(Path(name)) as learner:
        feed(learner, sizes)
        assert (learner.digest(), versions(Path(name)), learner.status()) == undisturbed()


@given(sizes=ANY_SIZES, again=ANY_SIZES, steps=st.integers(0, 40), saved=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_crash_changes_nothing(sizes: Sizes, again: Sizes, steps: int, saved: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        with learning(Path(name)) as learner:
            feed(learner, sizes, steps=steps)
            if saved:
                learner.snapshot_now()
        with learning(Path(name)) as learner:
            feed(learner, again)
            assert (learner.digest(), versions(Path(name)), learner.status()) == undisturbed()


def test_a_crash_at_any_write_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = 0
    # A version and its snapshot take some ten operations: the fifth version and its neighbours.
    for call in range(40, 62):
        folder = tmp_path / str(call)
        with monkeypatch.context() as patch, learning(folder) as learner:
            crash_at(patch, call)
            with pytest.raises(Crash):
                feed(learner, [(30, 5)])
            crashes += 1
        with learning(folder) as learner:
            feed(learner, [(17, 9)])
            assert (learner.digest(), versions(folder), learner.status()) == undisturbed()
    assert crashes == 22


def test_a_broken_snapshot_falls_back_and_ends_the_same(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        feed(learner, [(50, 10)])
    newest = max((tmp_path / "snapshots").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    with learning(tmp_path) as learner:
        assert learner.status()["versions"] < undisturbed()[2]["versions"]
        feed(learner, [(50, 10)])
        assert (learner.digest(), versions(tmp_path), learner.status()) == undisturbed()


def test_a_snapshot_goes_on_when_its_version_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay makes more versions at once than stay, then dies before it has saved."""
    with learning(tmp_path) as learner:
        feed(learner, [(30, 5)], steps=4)
        learner.snapshot_now()
        made = learner.status()["versions"]
    with monkeypatch.context() as patch, learning(tmp_path) as learner:
        patch.setattr(Learner, "snapshot_now", _die)
        with pytest.raises(Crash):
            feed(learner, [(10_000, 10_000)])
        assert 0 < made < min(registry(tmp_path).numbers())
    with learning(tmp_path) as learner:
        assert learner.status()["versions"] == made
        feed(learner, [(10_000, 10_000)])
        assert (learner.digest(), versions(tmp_path), learner.status()) == undisturbed()


def _die(_: Learner) -> None:
    raise Crash


def test_versions_stand_at_multiples_and_serve_the_trainers_probability(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        feed(learner, [(50, 10)])
        for number in registry(tmp_path).numbers():
            version = registry(tmp_path).version(number)
            assert version.through_ms % SETTINGS.publish_every_ms == 0
        champion, status = registry(tmp_path).champion(), learner.status()
        assert champion is not None
        assert champion.number == status["gate"]["champion"] < status["versions"]
        assert champion.through_ms <= status["through_ms"]
        learner._version += 1
        learner._publish(written=True)  # as if now were a multiple
        model = learner._model
        newest = registry(tmp_path).version(learner._version)
    published, weights = newest.arrays(), model.weights()
    assert all(np.array_equal(published[name], array) for name, array in weights.items())
    rows = pa.table({"city": ["Oslo"], "hour": [1], "delay": [4.5], "wet": [True]})
    inputs, steps = Encoder(ENCODING).inputs(rows), Steps(np.array([0]), np.array([PREDICT]))
    trainer = model.advance(inputs, steps)
    assert Scorer(ENCODING, SETTINGS.model, newest).score(rows).tolist() == trainer.tolist()


def test_nothing_is_done_before_both_topics_are_complete(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        learner.predictions(LOG.predictions, len(LOG.predictions))
        assert learner.advance().through_ms is None
        assert learner.status()["predictions"] == 0
        learner.examples(LOG.examples[:5], 5)
        end = orjson.loads(LOG.examples[4])["end"]
        done = learner.advance()
        assert done.through_ms == end
        assert done.predictions == sum(decision["at"] < end for decision in LOG.decided) > 0


def test_a_version_is_written_once_in_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []
    publish = Registry.publish

    def counted(self: Registry, number: int, *given: Any, **named: Any) -> int:
        if self.folder == tmp_path / "versions":
            numbers.append(number)
        return publish(self, number, *given, **named)

    monkeypatch.setattr(Registry, "publish", counted)
    with learning(tmp_path, replace(SETTINGS, gate=None)) as learner:  # the newest is served
        feed(learner, [(10_000, 10_000)])
    names = registry(tmp_path).aliases()
    assert numbers == registry(tmp_path).numbers()
    assert (names.chosen, names.previous) == (numbers[-1], numbers[-2])


def test_a_second_learner_is_refused(tmp_path: Path) -> None:
    with (
        learning(tmp_path),
        pytest.raises(
            EnvironmentProblem, match=f"the process {os.getpid()} on .*, since 20.* writes there"
        ),
    ):
        Learner(SETTINGS, tmp_path)
    with learning(tmp_path):
        pass


def test_a_learner_that_is_dropped_lets_go(tmp_path: Path) -> None:
    learner = Learner(SETTINGS, tmp_path)
    del learner
    with learning(tmp_path):
        pass


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        learner.snapshot_now()
    with pytest.raises(CorruptError, match="other settings"):
        Learner(replace(SETTINGS, within_ms=5), tmp_path)


def prediction(seq: int, at: int, **fields: Any) -> bytes:
    x = {"city": "a", "hour": 1, "delay": 1.0, "wet": True}
    return orjson.dumps({"seq": seq, "id": "", "at": at, "x": x, "p": 0.5, "version": 0, **fields})


def example(at: int, **fields: Any) -> dict[str, Any]:
    decided = orjson.loads(prediction(0, 5_000))
    row = {"at": at, "partition": 0, "offset": 0, "label": True, "prediction": decided}
    return {**row, **fields}


def pane(end: int, *examples: dict[str, Any]) -> bytes:
    return orjson.dumps({"end": end, "examples": examples})


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([prediction(1, 5_000)], "prediction 0 is missing"),
        ([prediction(0, 5_000), prediction(2, 5_000)], "prediction 1 is missing"),
        ([prediction(0, 5_000), b'{"seq": 1, "through": 9000}'], "prediction 1 is missing"),
        ([prediction(0, 5_000), prediction(1, 4_999)], "earlier than one before it"),
        ([b'{"seq": -1, "through": 9000}', prediction(0, 8_999)], "than what was complete"),
        ([b'{"seq": -1, "through": 9}', b'{"seq": -1, "through": 8}'], "goes back in time"),
        ([b"{"], "predictions topic"),
        ([prediction(0, 5_000), b""], "2 messages hold 1 JSON objects|Empty JSON"),
        ([b'{"seq": 0}'], "both 'at' and 'through', or neither"),
        ([prediction(0, 5_000, through=7)], "both 'at' and 'through'"),
        ([prediction(0, 5_000, p=None)], "no 'p'"),
        ([prediction(0, 5_000).replace(b":0,", b':"0",')], "number"),
        ([prediction(0, 5_000, x={"city": "a"})], r"lacks \['delay', 'hour', 'wet'\]"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_predictions_that_cannot_be_are_refused(
    tmp_path: Path, messages: list[bytes], says: str, at_once: bool
) -> None:
    batches = [messages] if at_once else [[message] for message in messages]
    with learning(tmp_path) as learner:
        for batch in batches[:-1]:
            learner.predictions(batch, len(batch))
        with pytest.raises(LearningError, match=says):
            learner.predictions(batches[-1], len(messages))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (pane(6_000, example(6_000)), "not of its pane's time"),
        (pane(6_000, example(4_999)), "not of its pane's time"),
        (pane(6_000, example(5_500, label=None)), "no 'label'"),
        (pane(6_000, example(5_500, prediction=None)), "no 'prediction'"),
        (pane(6_000, example(5_500, prediction={"seq": 0})), "no 'at'"),
        (
            pane(
                6_000, example(5_500, prediction=orjson.loads(prediction(0, 5_000, x={"hour": 1})))
            ),
            r"prediction 0 lacks \['city', 'delay', 'wet'\]",
        ),
        (b'{"examples": []}', "no 'end'"),
        (b'{"end": 6000}', "no 'examples'"),
    ],
)
def test_examples_that_cannot_be_are_refused(tmp_path: Path, message: bytes, says: str) -> None:
    with learning(tmp_path) as learner, pytest.raises(LearningError, match=says):
        learner.examples([message], 1)


def test_an_example_of_another_decision_time_is_refused(tmp_path: Path) -> None:
    wrong = orjson.loads(prediction(0, 5_001))
    with learning(tmp_path) as learner:
        learner.predictions([prediction(0, 5_000), b'{"seq": 0, "through": 9000}'], 2)
        learner.examples([pane(6_000, example(5_500, prediction=wrong))], 1)
        with pytest.raises(LearningError, match="another time"):
            learner.advance()


def test_progress_alone_moves_time_and_costs_no_version(tmp_path: Path) -> None:
    with learning(tmp_path) as learner:
        learner.predictions([b'{"seq": -1, "through": 1000000000000}'], 1)
        learner.examples([pane(1_000_000_000_000)], 1)
        assert learner.advance().through_ms == 1_000_000_000_000
        assert learner.status()["versions"] == 0
