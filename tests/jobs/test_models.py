"""``headrace models …`` and ``headrace replay`` as they are typed, over versions of a learner."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.jobs import learner as jobs_learner
from headrace.jobs import models
from headrace.jobs.learner import LearnerProcess
from headrace.online_learning.registry import Registry
from headrace.online_learning.version import WEIGHTS
from headrace.operators.errors import CorruptError, EnvironmentProblem
from headrace.pipelines.load import load
from headrace.pipelines.pipeline import Pipeline
from tests.chaos_learned import given, made
from tests.jobs.conftest import Say
from tests.jobs.in_memory import Log

SECONDS = 60


@pytest.fixture
def declared(tmp_path: Path) -> Pipeline:
    path = made(tmp_path, "models", "ftrl").path
    path.write_text(path.read_text("utf-8") + "  gate: {least: 20, alpha: 0.1}\n", "utf-8")
    return load(path)


@pytest.fixture
def state(tmp_path: Path, log: Log, declared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Learn a log, some messages at a time, so that versions are published and pruned."""
    monkeypatch.setattr(jobs_learner, "_POLL_MESSAGES", 40)
    source = given(SECONDS, 7)
    log.put(declared.predictions_topic, *source.predictions)
    log.put(declared.examples_topic, *source.examples)
    process = LearnerProcess(declared, bootstrap="memory", folder=tmp_path / "state" / "learner")
    while process.step():
        pass
    process.close()
    return tmp_path / "state"


@pytest.fixture
def say(say: Say, state: Path) -> Say:
    return lambda *words: say(*words, "--state", state)


def told(say: Say, *words: object) -> Any:
    status, text = say(*words, "--json")
    assert status == 0, text
    return json.loads(text)


def test_list_has_every_version_and_its_verdict(say: Say, state: Path) -> None:
    rows = told(say, "models", "list")
    versions = models.registry(state)
    numbers = [row["version"] for row in rows]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] == versions.aliases().judged
    kept = {row["version"] for row in rows if row["kept"]}
    assert kept == set(versions.numbers()) < set(numbers)
    champion = next(row for row in rows if "champion" in row["names"])
    assert champion["verdict"] == "promoted"
    assert champion["scores"]["log_loss"] > 0
    assert {"promoted", "waits"} <= {row["verdict"] for row in rows}
    status, text = say("models", "list")
    assert status == 0
    assert "waits: too_few_labels" in text
    assert "pruned" in text


def test_show_says_all_of_one_that_is_kept_and_of_one_that_was_pruned(
    say: Say, state: Path, declared: Pipeline
) -> None:
    versions = models.registry(state)
    number = versions.aliases().champion
    facts = told(say, "models", "show", number)
    assert facts["names"] == ["champion"]
    assert facts["data"]["examples"]["to"] == facts["offsets"]["examples"]
    assert facts["data"]["examples"]["from"] < facts["data"]["examples"]["to"]
    assert facts["provenance"]["pipeline"] == declared.digest
    assert facts["provenance"]["packages"]["numpy"] == np.__version__
    pruned = versions.pruned()[1]
    facts = told(say, "models", "show", pruned)
    assert (facts["version"], facts["provenance"]) == (pruned, {})
    status, text = say("models", "show", pruned)
    assert status == 0
    assert f"version: {pruned}" in text
    status, text = say("models", "show", 999)
    assert status == 1
    assert "asked for version 999; it is not there" in text


def test_diff_has_scores_and_the_weights_that_moved_most(say: Say, state: Path) -> None:
    versions = models.registry(state)
    before, after = versions.aliases().previous, versions.aliases().champion
    found = told(say, "models", "diff", before, after, "--most", 3)
    assert (found["same"], found["settings"]) == (False, {})
    assert "prequential.n" in found["scores"]
    sizes = [abs(each["after"] - each["before"]) for each in found["moved"]]
    assert len(sizes) == 3
    assert sizes == sorted(sizes, reverse=True)
    one: dict[int, float] = {}
    two: dict[int, float] = {}
    for number, weights in ((before, one), (after, two)):
        assert number is not None
        arrays = versions.version(number).arrays()
        weights.update(zip(arrays["ids"].tolist(), arrays["weights"].tolist(), strict=True))
    slots = {*one, *two}
    moved = {slot: abs(two.get(slot, 0.0) - one.get(slot, 0.0)) for slot in slots}
    assert found["moved"][0]["slot"] in {s for s, x in moved.items() if x == max(moved.values())}
    same = told(say, "models", "diff", after, after)
    assert (same["same"], same["changed"], same["moved"], same["scores"]) == (True, 0, [], {})
    status, text = say("models", "diff", before, after)
    assert status == 0
    assert "weights differ" in text


def test_promote_pins_and_auto_gives_back(say: Say, state: Path) -> None:
    versions = models.registry(state)
    chosen, other = versions.aliases().chosen, versions.numbers()[-1]
    assert chosen != other
    assert told(say, "models", "promote", other)["champion"] == other
    assert Registry(versions.folder).aliases().pinned == other
    status, text = say("models", "promote", other)
    assert "pinned until `promote --auto`" in text
    assert told(say, "models", "promote", "--auto")["champion"] == chosen
    assert told(say, "models", "promote", other, "--shadow")["shadow"] == other
    status, text = say("models", "promote", 999)
    assert (status, "asked for the version '999'" in text) == (1, True)
    assert say("models", "promote")[0] == 2


def test_rollback_goes_to_the_one_before_and_further(say: Say, state: Path) -> None:
    previous = models.registry(state).aliases().previous
    assert told(say, "models", "rollback")["champion"] == previous
    status, text = say("models", "rollback")
    assert status == 1
    assert f"no version before {previous} is kept" in text


def test_what_is_damaged_or_of_other_settings_is_not_promoted(state: Path) -> None:
    versions = models.registry(state)
    newest = versions.numbers()[-1]
    (versions.folder / f"v{newest:06d}" / WEIGHTS).write_bytes(b"")
    with pytest.raises(CorruptError):
        models.promote(versions, newest)
    newest = versions.publish(
        newest + 1,
        {"ids": np.zeros(0, np.int64), "weights": np.zeros(0)},
        encoding="another",
        model={"kind": "linear"},
        through_ms=0,
        offsets={},
        metrics={},
    )
    with pytest.raises(EnvironmentProblem, match="learned with another encoding"):
        models.promote(versions, newest)


def test_challengers_are_shown_and_a_version_of_one_may_be_promoted(say: Say, state: Path) -> None:
    status, text = say("models", "challengers")
    assert (status, "declare them: `model: challengers:`" in text) == (1, True)
    versions = models.registry(state)
    newest = versions.numbers()[-1]
    known = versions.version(newest)
    beside = {"kind": "ftrl", "ftrl": {"alpha": 0.5}}
    each = {"place": "learns", "labels": 700, "log_loss": 0.25, "evidence": -1.5, "model": beside}
    same: Any = {"encoding": known.encoding, "through_ms": 0, "offsets": {}}
    for number, model in ((newest + 1, known.model), (newest + 2, beside)):
        told_of = {"challengers": {"1": {**each, "model": beside}}}
        versions.publish(number, known.arrays(), model=model, metrics=told_of, **same)
    assert told(say, "models", "challengers") == {"1": each}
    status, text = say("models", "challengers")
    assert "learns" in text
    assert "700" in text
    with pytest.raises(EnvironmentProblem, match=r"another ftrl\.alpha"):
        models.promote(versions, newest + 2)
    models.promote(versions, newest + 1)
    versions.judged(newest + 2, champion=newest + 1)
    assert models.promote(versions, newest + 2).champion == newest + 2


def test_prune_keeps_the_names_and_the_manifests(say: Say, state: Path) -> None:
    versions = models.registry(state)
    before, names = versions.numbers(), versions.aliases().kept
    gone = told(say, "models", "prune", "--keep", 1)["pruned"]
    assert set(gone) == set(before) - names - {before[-1]}
    assert set(gone) <= set(versions.pruned())


def test_without_versions_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="there are none"):
        models.registry(tmp_path)


def test_replay_makes_a_version_again_bit_for_bit(
    say: Say, state: Path, declared: Pipeline
) -> None:
    versions = models.registry(state)
    for number in (versions.aliases().champion, versions.pruned()[3]):
        done = told(say, "replay", declared.path, "--model", number)
        assert (done["version"], done["same"], done["made_by"]) == (number, True, {})


def test_replay_says_what_differs(say: Say, state: Path, declared: Pipeline, log: Log) -> None:
    """Where a version is not what the log makes: here its publisher had another label."""
    versions = models.registry(state)
    champion = versions.aliases().champion
    assert champion is not None
    place = declared.examples_topic, 0
    for i, said in enumerate(log.messages[place]):
        if b'"label":true' in (said.value or b""):
            value = (said.value or b"").replace(b'"label":true', b'"label":false', 1)
            log.messages[place][i] = type(said)(said.topic, 0, said.offset, value)
            break
    status, text = say("replay", declared.path, "--model", champion)
    assert status == 1
    assert f"version {champion} is not as it was published" in text
    assert re.search(
        r"^weights: (it was|\d+ of \d+ numbers differ, by at most)", text, re.MULTILINE
    )
    assert "checksum" in text


def test_replay_refuses_another_pipeline_and_a_log_that_is_too_short(
    say: Say, state: Path, declared: Pipeline, log: Log
) -> None:
    champion = models.registry(state).aliases().champion
    text = declared.path.read_text("utf-8")
    declared.path.write_text(text.replace("alpha: 0.1\n", "alpha: 0.2\n", 1), "utf-8")
    status, said = say("replay", declared.path, "--model", champion)
    assert status == 1
    assert "give the pipeline file that it was learned with" in said
    declared.path.write_text(text, "utf-8")
    del log.messages[declared.examples_topic, 0][10:]
    status, said = say("replay", declared.path, "--model", champion)
    assert status == 1
    assert "look whether a topic was emptied" in said
