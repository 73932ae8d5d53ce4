"""``headrace skew`` and ``headrace drift`` as they are typed, over a store in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.jobs.machine import local
from headrace.pipelines.pipeline import Pipeline
from tests.feature_store.made_up import pipeline
from tests.jobs.conftest import Say
from tests.jobs.test_verify import LOGS, MEAN, Stream


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr("tests.feature_store.made_up.TEXT", MEAN)
    monkeypatch.setattr("headrace.jobs.source_rows.read_log", lambda _, topic: LOGS[topic])
    return pipeline(tmp_path)


@pytest.fixture
def stream(small: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    with closing(Stream(small)) as one:
        client = SimpleNamespace(sql=one.ask, training=one.answer)

        @contextmanager
        def reached(*_: object) -> Iterator[tuple[str, SimpleNamespace]]:
            yield "memory", client

        monkeypatch.setattr(local, "reached", reached)
        yield one


def test_skew_says_what_differs_and_ends_with_1(small: Pipeline, stream: Stream, say: Say) -> None:
    assert say("skew", small.path)[0] == 0
    stream.plant("UPDATE predictions SET mean_x = 3.5 WHERE seq = 0")
    status, text = say("skew", small.path)
    assert status == 1
    assert "1 of 24 values are not what they are recomputed as" in text
    assert (
        "mean_x of d0 at 1970-01-01 00:01:00: served 3.5, recomputed 1.5; 1 tiles of clicks that "
        "end from 1970-01-01 00:01:00 to 1970-01-01 00:01:00"
    ) in text
    status, text = say("skew", small.path, "--log", "--json", "--examples", 0)
    found = {each["feature"]: each for each in json.loads(text)}
    assert (status, found["mean_x"]["mismatch"], found["mean_x"]["worst"]) == (1, 1, [])


@pytest.mark.usefixtures("stream")
def test_skew_with_late_rows(small: Pipeline, say: Say) -> None:
    """The late row's stamp is that of all: 2 ** 41 ms, in 2039."""
    assert say("skew", small.path, "--as-known-at", "2039-01-01")[0] == 1  # nothing was known
    corrected = say("skew", small.path, "--as-corrected", "--json")
    assert corrected == say("skew", small.path, "--as-known-at", "2041-01-01T00:00:00Z", "--json")
    wrong = {each["feature"] for each in json.loads(corrected[1]) if each["mismatch"]}
    assert {"n", "mean_x"} <= wrong


@pytest.mark.usefixtures("stream")
def test_drift_shows_the_index_and_the_bins(small: Pipeline, say: Say) -> None:
    words = ("drift", small.path, "--baseline", "1970-01-01..1970-01-01T00:02:00")
    status, text = say(*words)
    assert status == 0
    assert "drifted" in text
    status, text = say(*words, "--feature", "n", "--to", "1970-01-02")
    assert "1 (100.0 %)" in text
    status, text = say(*words, "--json", "--from", "1970-01-01")
    assert (status, json.loads(text)[0]["rows"]) == (0, 3)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), "give --baseline START..END, or --version N"),
        (("--baseline", "2013-01-01"), "it has no '..'; write START..END"),
        (("--baseline", "monday..2013"), "asked for the time 'monday'"),
        (("--baseline", "1970..1971", "--feature", "m"), "asked for the time '1970'"),
        (("--baseline", "1970-01-01..1971-01-01", "--feature", "m"), "asked for the feature 'm'"),
        (("--version", "7"), "7"),
    ],
)
@pytest.mark.usefixtures("stream")
def test_drift_of_what_is_not_there(
    small: Pipeline, say: Say, tmp_path: Path, words: tuple[str, ...], wanted: str
) -> None:
    status, text = say("drift", small.path, "--state", tmp_path, *words)
    assert (status, wanted in text) == (1, True), text


@pytest.mark.parametrize("command", [("skew",), ("drift", "--baseline", "1970-01-01..1971-01-01")])
def test_where_no_pipeline_ran(
    small: Pipeline, say: Say, tmp_path: Path, command: tuple[str, ...]
) -> None:
    state = tmp_path / "none"
    status, text = say(command[0], small.path, *command[1:], "--state", state)
    assert (status, "there is none; run the pipeline first" in text) == (1, True)
    assert not state.exists()
